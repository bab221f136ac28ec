package reliable

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/gorm-aftercommit/aftercommit/internal/seal"
)

// Key is a key for what entries carry: see [KeyRing]. It prints as its id,
// whatever the format.
type Key struct {
	// ID names the key in what it encrypted, and in errors: 1 to 64 letters,
	// digits and . _ -, for example "2026-11". It always stands for the same
	// secret.
	ID string

	// Secret is 32 random bytes. "openssl rand -base64 32" makes some.
	Secret []byte `json:"-"`
}

// Format implements [fmt.Formatter]: every verb prints the id.
func (k Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("key " + k.ID)) }

// KeyRing are the keys that encrypt what entries carry: changesets, arguments
// and headers, by AES-256-GCM, in the table and in backups. The first one
// encrypts, all decrypt; nil encrypts nothing. What was written before, without
// encryption, stays readable. Ids and names of an entry, its causality key and
// the texts of errors are not encrypted.
//
// An entry whose key a worker lacks waits, shown with the class
// *reliable.UnknownKeyError, and burns no attempt. To change keys without that,
// first give every process the new key behind the old one, then put it first,
// then call Reencrypt of package outbox, then drop the old one.
type KeyRing []Key

// ParseKeyRing reads keys as id:secret, separated by commas, where the secret is
// 32 bytes in base64:
//
//	ring, err := reliable.ParseKeyRing(os.Getenv("RELIABLE_ENCRYPTION_KEYS")) // 2026-11:...,2026-05:...
//
// It returns all mistakes at once. A text without a key is one: a variable that
// is not set encrypts nothing, and nobody would know. No error tells a secret.
func ParseKeyRing(text string) (KeyRing, error) {
	var ring KeyRing
	var mistakes []error
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		id, encoded, ok := strings.Cut(part, ":")
		if !ok {
			mistakes = append(mistakes, fmt.Errorf("key %d of the ring: want id:secret, and it has no colon", len(ring)+1))
			id, encoded = "?", ""
		}
		secret, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("secret of key %s: is no base64: want what \"openssl rand -base64 32\" prints", seal.Quote(id)))
		}
		ring = append(ring, Key{ID: id, Secret: secret})
	}
	if len(ring) == 0 {
		mistakes = append(mistakes, errors.New("there is no key: want id:secret, for example 2026-11: and what \"openssl rand -base64 32\" prints"))
	}
	if len(mistakes) == 0 {
		mistakes = append(mistakes, ring.validate())
	}
	if err := errors.Join(mistakes...); err != nil {
		return nil, fmt.Errorf("reliable: keys for encryption: %w", err)
	}
	return ring, nil
}

// validate returns all mistakes.
func (r KeyRing) validate() error {
	var errs []error
	seen := make(map[string]bool)
	for _, k := range r {
		errs = append(errs, seal.CheckKey(k.ID, k.Secret))
		if seen[k.ID] {
			errs = append(errs, fmt.Errorf("id %s: there are two keys of it: want one secret for one id", seal.Quote(k.ID)))
		}
		seen[k.ID] = true
	}
	return errors.Join(errs...)
}

// open returns the keys ready for use, nil without any.
func (r KeyRing) open() (*seal.Ring, error) {
	if len(r) == 0 {
		return nil, nil
	}
	if err := r.validate(); err != nil {
		return nil, fmt.Errorf("Config.Encryption: %w", err)
	}
	ring := new(seal.Ring)
	for _, k := range r {
		if err := ring.Add(k.ID, k.Secret); err != nil {
			return nil, fmt.Errorf("Config.Encryption: key %q: %w", k.ID, err)
		}
	}
	return ring, nil
}

// UnknownKeyError says that an entry can't be decrypted yet: Config.Encryption
// lacks the key. It is the error class of such an entry while it waits.
type UnknownKeyError struct {
	Key string // id of the key that is missing
	err error
}

// Error names the column, the key and what to do.
func (e *UnknownKeyError) Error() string { return e.err.Error() }
