package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// How much a transaction of Reencrypt takes: what it locks, others wait for.
const (
	reencryptRows  = 200
	reencryptBytes = 4 << 20
)

// How often, and how far apart, it comes back to entries that others had locked.
const (
	reencryptAgain = 20
	reencryptPause = 100 * time.Millisecond
)

// ErrNoKey says that Config.Encryption has no key to encrypt with.
var ErrNoKey = errors.New("there is no key to encrypt with: set Config.Encryption")

// Reencryption is how far [Outbox.Reencrypt] is.
type Reencryption struct {
	Done    int   `json:"done"`    // entries that are encrypted anew
	Skipped int   `json:"skipped"` // that can't be decrypted, or that others kept locked
	Last    int64 `json:"-"`       // everything up to this id was looked at
}

// CountStale counts the entries that [Outbox.Reencrypt] is for. It looks at
// [MaxLooked] rows at most.
func (o *Outbox) CountStale(ctx context.Context) (Count, error) {
	s, err := o.stale(ctx)
	if err != nil {
		return Count{}, fmt.Errorf("outbox: count what to encrypt: %w", err)
	}
	var c Count
	for looked, after := 0, int64(0); ; {
		w, err := selectWindow(s.db, s.tables, Filter{}, after)
		if err != nil {
			return Count{}, fmt.Errorf("outbox: count what to encrypt: %w", err)
		}
		if w.rows == 0 {
			return c, nil
		}
		if looked += w.rows; looked > MaxLooked {
			c.AtLeast = true
			return c, nil
		}
		n, err := s.count(after, w.last)
		if err != nil {
			return Count{}, fmt.Errorf("outbox: count what to encrypt: %w", err)
		}
		c.N, after = c.N+n, w.last
	}
}

// Reencrypt encrypts with the first key of Config.Encryption what entries carry
// in clear or under other keys, in the order of ids, up to the highest at the
// beginning; done and dead entries that are in the table, too. After it, a key
// is of no use any more that is not the first, once nobody writes with it: but
// for the history, which stays as it is until it is pruned.
//
// It may run beside writers and workers, and more than once: each transaction
// locks, by SKIP LOCKED, and rewrites 200 rows at most, so that it never waits
// for a worker, nor a worker for long. A worker that has claimed an entry has
// read it. After each transaction it calls progress, which may be nil. Entries
// that can't be decrypted stay as they are, and the error names the first ones;
// it is returned when everything else is done. After any other error, or when ctx
// is done, what was done stays done.
func (o *Outbox) Reencrypt(ctx context.Context, progress func(Reencryption)) (Reencryption, error) {
	s, err := o.stale(ctx)
	if err != nil {
		return Reencryption{}, fmt.Errorf("outbox: reencrypt: %w", err)
	}
	if s.progress = progress; progress == nil {
		s.progress = func(Reencryption) {}
	}
	err = s.run(ctx)
	if err = errors.Join(append(s.refused, err)...); err != nil {
		err = fmt.Errorf("outbox: reencrypt: %w", err)
	}
	return s.result, err
}

// stale is a pass over what is not encrypted with the first key.
type stale struct {
	db       *gorm.DB
	plugin   *reliable.Plugin
	tables   reliable.Tables
	prefix   string // of what is
	progress func(Reencryption)
	result   Reencryption
	locked   []sized // by others
	refused  []error
}

func (o *Outbox) stale(ctx context.Context) (*stale, error) {
	plugin, err := reliable.From(o.db)
	if err != nil {
		return nil, err
	}
	if plugin.EncryptionKey() == "" {
		return nil, ErrNoKey
	}
	return &stale{db: o.session(ctx), plugin: plugin, tables: plugin.Tables(), prefix: sealPrefix(plugin)}, nil
}

func (s *stale) run(ctx context.Context) error {
	highest, err := s.highest()
	if err != nil {
		return err
	}
	for s.result.Last < highest {
		w, err := selectWindow(s.db, s.tables, Filter{}, s.result.Last)
		if err != nil || w.rows == 0 {
			return err
		}
		found, err := s.find(s.result.Last, min(w.last, highest))
		if err == nil {
			err = s.chunks(found, &s.locked)
		}
		if err != nil {
			return err
		}
		s.result.Last = w.last
		s.progress(s.result)
	}
	for range reencryptAgain {
		if len(s.locked) == 0 {
			break
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(reencryptPause):
		}
		again := s.locked
		s.locked = nil
		if err := s.chunks(again, &s.locked); err != nil {
			return err
		}
	}
	s.result.Skipped += len(s.locked)
	s.progress(s.result)
	if n := len(s.locked); n > 0 {
		s.refused = append(s.refused, fmt.Errorf("%d entries were locked all the time, entry %d is one: run it again", n, s.locked[0].ID))
	}
	return nil
}

// chunks encrypts entries, some of them in a transaction each. Those that others
// have locked it appends to locked.
func (s *stale) chunks(all []sized, locked *[]sized) error {
	for len(all) > 0 {
		n, bytes := 0, 0
		for n < len(all) && n < reencryptRows && (n == 0 || bytes+all[n].Size <= reencryptBytes) {
			bytes += all[n].Size
			n++
		}
		if err := s.chunk(all[:n], locked); err != nil {
			return fmt.Errorf("entries %d to %d: %w", all[0].ID, all[n-1].ID, err)
		}
		all = all[n:]
		s.progress(s.result)
	}
	return nil
}

func (s *stale) chunk(chunk []sized, locked *[]sized) error {
	var done int
	var refused []error
	var busy []sized
	err := inTx(s.db, func(tx *gorm.DB) error {
		done, refused = 0, nil // it may be repeated
		entries, err := s.lock(tx, chunk)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := s.plugin.Decrypt(e); err != nil {
				refused = append(refused, fmt.Errorf("entry %d: %w", e.ID, err))
				continue
			}
			s.plugin.Encrypt(e)
			if err := s.update(tx, e); err != nil {
				return err
			}
			done++
		}
		if len(entries) == len(chunk) {
			busy = nil
			return nil
		}
		busy, err = s.left(tx, chunk, entries)
		return err
	})
	if err != nil {
		return err
	}
	s.result.Done += done
	s.result.Skipped += len(refused)
	s.refused = append(s.refused, refused[:min(len(refused), max(mostErrors-len(s.refused), 0))]...)
	*locked = append(*locked, busy...)
	return nil
}
