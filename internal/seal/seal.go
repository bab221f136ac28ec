// Package seal encrypts what an entry carries.
//
// A sealed text is a JSON document, so that the columns stay text that any tool
// reads, and it begins as no text of ours does that is not sealed:
//
//	{"reliable:sealed":1,"key":"2026-11","data":"..."}
//
// data is base64 of a nonce of 24 bytes and of the text under XAES-256-GCM: two
// blocks of AES, keyed by the ring's key, make an AES-256-GCM key of the first
// 12 bytes of the nonce; the other 12 are the nonce of that. With random nonces,
// AES-256-GCM alone is at its limit after 2^32 texts per key, which a busy outbox
// writes in weeks; so it is past reach.
//
// What a text is about is authenticated with it: sealed, it can't be put in the
// place of another.
package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// KeySize is how long a key is, in bytes.
const KeySize = 32

const (
	mark    = `{"reliable:sealed":`
	version = mark + `1,"key":"`
	middle  = `","data":"`
	end     = `"}`

	half      = 12 // bytes of the nonce for the derived key, and for the nonce under that
	nonceSize = 2 * half
	tagSize   = 16
)

var idPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// ErrAltered says that a sealed text is not what was sealed, or not where: it
// was changed, cut off, or put in the place of another.
var ErrAltered = errors.New("it was altered, or is another entry's or column's: it can't be authenticated")

// UnknownKeyError says that a text is sealed with a key that the ring lacks.
type UnknownKeyError struct {
	Key   string   // id of the key
	Known []string // ids of the ring's
}

// Error names the key, and what to do.
func (e *UnknownKeyError) Error() string {
	if len(e.Known) == 0 {
		return fmt.Sprintf("encrypted with key %q, and Config.Encryption has no keys: add it there", e.Key)
	}
	return fmt.Sprintf("encrypted with key %q, and Config.Encryption has only %s: add it there", e.Key, strings.Join(e.Known, ", "))
}

// Ring seals with its first key, and opens with any. It may be used by many
// goroutines. A nil Ring has no keys: it only opens what is not sealed.
type Ring struct{ keys []*key }

// key is a master key, ready to derive others.
type key struct {
	prefix string // of what it sealed
	id     string
	block  cipher.Block
	sub    [aes.BlockSize]byte // the first subkey of CMAC
}

// CheckKey reports what is wrong with a key. It does not tell the secret.
func CheckKey(id string, secret []byte) error {
	var errs []error
	if !idPattern.MatchString(id) {
		errs = append(errs, fmt.Errorf("id %s: want 1 to 64 letters, digits and . _ -, beginning with a letter or digit", Quote(id)))
	}
	if len(secret) != KeySize {
		errs = append(errs, fmt.Errorf("secret of key %s: has %d bytes: want %d random ones", Quote(id), len(secret), KeySize))
	} else if bytes.Count(secret, secret[:1]) == KeySize {
		errs = append(errs, fmt.Errorf("secret of key %s: is one byte %d times: want random ones", Quote(id), KeySize))
	}
	return errors.Join(errs...)
}

// Quote returns an id for an error. One that is as long as a secret may be one, in
// the wrong place: it is not told.
func Quote(id string) string {
	if len(id) >= KeySize {
		return fmt.Sprintf("[%d bytes]", len(id))
	}
	return strconv.Quote(id)
}

// Add adds a key that passes CheckKey. The first that is added seals.
func (r *Ring) Add(id string, secret []byte) error {
	block, err := aes.NewCipher(secret)
	if err != nil {
		return err
	}
	k := &key{prefix: Prefix(id), id: id, block: block}
	block.Encrypt(k.sub[:], k.sub[:])
	var carry byte // times x, in the field of CMAC
	for i := len(k.sub) - 1; i >= 0; i-- {
		next := k.sub[i] >> 7
		k.sub[i] = k.sub[i]<<1 | carry
		carry = next
	}
	k.sub[len(k.sub)-1] ^= carry * 0x87
	r.keys = append(r.keys, k)
	return nil
}

// Prefix is how all texts begin that are sealed with a key, and no others.
func Prefix(id string) string { return version + id + middle }

// Sealed reports whether a text is sealed, or says that it is: a number follows
// the mark, so that no map of texts does.
func Sealed(text []byte) bool {
	return len(text) > len(mark) && string(text[:len(mark)]) == mark && text[len(mark)] != '"'
}

// First returns the id of the key that seals, "" without one.
func (r *Ring) First() string {
	if r == nil || len(r.keys) == 0 {
		return ""
	}
	return r.keys[0].id
}

// Seal returns text sealed with the first key, of which there must be one;
// about is what Open must be given as well.
func (r *Ring) Seal(about, text []byte) []byte {
	k := r.keys[0]
	raw := make([]byte, nonceSize, nonceSize+len(text)+tagSize)
	_, _ = rand.Read(raw) // never fails
	raw = k.derive(raw[:half]).Seal(raw, raw[half:nonceSize], text, k.about(about))

	sealed := make([]byte, len(k.prefix)+base64.StdEncoding.EncodedLen(len(raw))+len(end))
	n := copy(sealed, k.prefix)
	base64.StdEncoding.Encode(sealed[n:], raw)
	copy(sealed[len(sealed)-len(end):], end)
	return sealed
}

// Open returns what Seal was given. A text that is not sealed is returned as it
// is. The error is an [UnknownKeyError], wraps [ErrAltered], or says what is
// malformed.
func (r *Ring) Open(about, text []byte) ([]byte, error) {
	if !Sealed(text) {
		return text, nil
	}
	rest, ok := bytes.CutPrefix(text, []byte(version))
	if !ok {
		return nil, errors.New("encrypted in a format that this binary does not know")
	}
	id, rest, ok := bytes.Cut(rest, []byte(middle))
	data, closed := bytes.CutSuffix(rest, []byte(end))
	if !ok || !idPattern.Match(id) || !closed {
		return nil, fmt.Errorf("encrypted, but malformed: %w", ErrAltered)
	}
	k, err := r.key(string(id))
	if err != nil {
		return nil, err
	}
	raw := make([]byte, base64.StdEncoding.DecodedLen(len(data)))
	n, err := base64.StdEncoding.Strict().Decode(raw, data)
	if raw = raw[:n]; err != nil || n < nonceSize+tagSize {
		return nil, fmt.Errorf("encrypted, but cut off or no base64: %w", ErrAltered)
	}
	nonce, body := raw[:nonceSize], raw[nonceSize:]
	opened, err := k.derive(nonce[:half]).Open(body[:0], nonce[half:], body, k.about(about))
	if err != nil {
		return nil, fmt.Errorf("encrypted with key %q: %w", k.id, ErrAltered)
	}
	return opened, nil
}

func (r *Ring) key(id string) (*key, error) {
	unknown := &UnknownKeyError{Key: id}
	if r != nil {
		for _, k := range r.keys {
			if k.id == id {
				return k, nil
			}
			unknown.Known = append(unknown.Known, k.id)
		}
	}
	return nil, unknown
}

// derive returns AES-256-GCM under the key that the first part of a nonce
// makes: two blocks of the derivation by CMAC in counter mode.
func (k *key) derive(nonce []byte) cipher.AEAD {
	var derived [KeySize]byte
	for i := range 2 {
		block := derived[i*aes.BlockSize:][:aes.BlockSize]
		copy(block, []byte{0, byte(i + 1), 'X', 0})
		copy(block[4:], nonce)
		for j := range block {
			block[j] ^= k.sub[j]
		}
		k.block.Encrypt(block, block)
	}
	inner, err := aes.NewCipher(derived[:])
	if err != nil {
		panic(err) // the size is right
	}
	aead, err := cipher.NewGCM(inner)
	if err != nil {
		panic(err) // the block is AES's
	}
	return aead
}

// about adds the format and the key to what a text is about.
func (k *key) about(about []byte) []byte {
	return append(append(make([]byte, 0, len(k.prefix)+len(about)), k.prefix...), about...)
}

// AppendPart appends one part of what a text is about: none runs into the next.
func AppendPart(about []byte, part string) []byte {
	return append(binary.AppendUvarint(about, uint64(len(part))), part...)
}
