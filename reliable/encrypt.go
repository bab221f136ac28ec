package reliable

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/seal"
)

// ErrAltered says that what an entry carries is encrypted, and was changed, cut
// off, or put there from another entry or column: it is not decrypted.
var ErrAltered = seal.ErrAltered

// EncryptionKey returns the id of the key that encrypts, the first of
// Config.Encryption; "" without one.
func (p *Plugin) EncryptionKey() string { return p.seals.First() }

// Encrypt encrypts what e carries, in place, with the first key of
// Config.Encryption; without one it does nothing. What is encrypted already it
// encrypts once more: call Decrypt first. The entry's context, names,
// causality key and Owed must be those of its row, to which they bind it.
func (p *Plugin) Encrypt(e *OutboxEntry) {
	if p.seals == nil {
		return
	}
	s := p.about(e.Context, e.ResourceClass, e.ResourceID, e.EventName, e.CausalityKey, e.Owed)
	e.Changeset, e.Arguments, e.Headers = s.seal(columnChangeset, e.Changeset), s.seal(columnArguments, e.Arguments), s.seal(columnHeaders, e.Headers)
}

// Decrypt decrypts what e carries, in place; what is not encrypted stays as it
// is. Entries that callbacks, processors and events get are decrypted. After an
// error nothing is changed: it is an [UnknownKeyError], or wraps [ErrAltered].
func (p *Plugin) Decrypt(e *OutboxEntry) error {
	if !sealed(e) {
		return nil
	}
	s := p.about(e.Context, e.ResourceClass, e.ResourceID, e.EventName, e.CausalityKey, e.Owed)
	opened := [...]struct {
		column string
		text   *json.RawMessage
		plain  []byte
	}{{columnChangeset, &e.Changeset, nil}, {columnArguments, &e.Arguments, nil}, {columnHeaders, &e.Headers, nil}}
	for i := range opened {
		o := &opened[i]
		var err error
		if o.plain, err = s.open(o.column, *o.text); err != nil {
			return err
		}
	}
	for i := range opened {
		*opened[i].text = opened[i].plain
	}
	return nil
}

// sealed reports whether something that e carries is encrypted.
func sealed(e *OutboxEntry) bool {
	return seal.Sealed(e.Changeset) || seal.Sealed(e.Arguments) || seal.Sealed(e.Headers)
}

// The columns that are encrypted.
const (
	columnChangeset = "changeset"
	columnArguments = "arguments"
	columnHeaders   = "headers"
)

// encrypt encrypts what a row carries. Without keys it does nothing.
func (p *Plugin) encrypt(r *row) {
	if p.seals == nil {
		return
	}
	s := p.about(r.context, r.class, r.resourceID, r.event, r.key, r.owed)
	r.changeset, r.arguments, r.headers = s.seal(columnChangeset, r.changeset), s.seal(columnArguments, r.arguments), s.seal(columnHeaders, r.headers)
}

// sealer seals and opens what one row carries.
type sealer struct {
	ring  *seal.Ring
	about []byte // what binds it to the row: all that is known before the INSERT and never changes
}

func (p *Plugin) about(context, class, id, event, key string, owed []string) sealer {
	about := make([]byte, 0, 256)
	for _, part := range [...]string{context, class, id, event, key} {
		about = seal.AppendPart(about, part)
	}
	for _, name := range owed {
		about = seal.AppendPart(about, name)
	}
	return sealer{p.seals, about}
}

// bound returns what binds a text to its column and row.
func (s sealer) bound(column string) []byte { return append(append(s.about, ' '), column...) }

// seal seals the text of a column, if it has one.
func (s sealer) seal(column string, text []byte) []byte {
	if len(text) == 0 {
		return text
	}
	return s.ring.Seal(s.bound(column), text)
}

func (s sealer) open(column string, text []byte) ([]byte, error) {
	opened, err := s.ring.Open(s.bound(column), text)
	var unknown *seal.UnknownKeyError
	if errors.As(err, &unknown) {
		return nil, &UnknownKeyError{Key: unknown.Key, err: fmt.Errorf("column %s: %w", column, err)}
	}
	if err != nil {
		return nil, fmt.Errorf("column %s: %w", column, err)
	}
	return opened, nil
}

// How long an entry waits for a key before it is looked at again: a quarter of
// its age, within these bounds.
const (
	leastKeyWait = 5 * time.Second
	mostKeyWait  = 5 * time.Minute
)

// keyWait returns that time for an entry of an age, with jitter.
func keyWait(age time.Duration) time.Duration {
	wait := min(max(age/4, leastKeyWait), mostKeyWait)
	return wait - rand.N(wait/4)
}

// locked ends a run whose entry could not be decrypted. Without the key it
// waits, as it is: another process has the key, or this one gets it.
func (r *run) locked(err error) {
	var unknown *UnknownKeyError
	if !errors.As(err, &unknown) {
		r.undecodable(err)
		return
	}
	r.out.State = StateRetry
	r.out.RetryAt = r.batch.now().Add(keyWait(r.batch.now().Sub(r.entry.CreatedAt)))
	r.out.ErrorClass, r.out.ErrorMessage = errorClass(unknown), errorText(unknown)
	r.out.Callbacks = r.entry.Callbacks
	if !r.batch.toldLocked.Swap(true) {
		r.batch.plugin.cfg.Monitor.Publish(&ErrorOccurred{Step: "decrypt", Err: fmt.Errorf("entry %d waits: %w", r.entry.ID, err)})
	}
}
