package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Release is what becomes of the head of a parked key when the key goes on.
type Release string

// The ways to release a key. What is behind the head follows in order.
const (
	// RetryHead has the head tried again, with all its attempts before it. Of
	// its callbacks, those that are done or discarded don't run again.
	RetryHead Release = "retry"

	// DiscardHead gives the head up: it goes to the history as it is, with its
	// error, under token 0. On PostgreSQL that takes today's partition, which
	// workers make that archive what is done.
	DiscardHead Release = "discard"

	// SkipHead leaves the head where it is, dead and outside of the order, as
	// [reliable.KeySkip] does.
	SkipHead Release = "skip"
)

// ErrNotParked says that a key is not parked, or not at that head any more.
var ErrNotParked = errors.New("not parked")

// ErrUnreadable says that an entry can't be tried again: its column callbacks
// is not what workers write. Discard it.
var ErrUnreadable = errors.New("can't be read")

// ReleaseKey lets a parked key go on. head is the entry at which it stands, as
// [ParkedKey.Head] has it: if somebody else released that meanwhile, whatever
// the key did since, nothing is changed and the error wraps [ErrNotParked]. Zero
// is whichever head there is. Workers are woken, and come to the key within
// seconds; the event is [reliable.KeyReleased]. After another error it is not
// known whether the key was released: look again, or repeat the call with the
// same head.
//
// A key with another dead entry, which order by commit (StrictOrder) rules out,
// stays parked at that.
func (o *Outbox) ReleaseKey(ctx context.Context, key string, head int64, how Release) error {
	plugin, err := reliable.From(o.db)
	if err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	switch {
	case how != RetryHead && how != DiscardHead && how != SkipHead:
		return fmt.Errorf("outbox: release key %q: %q is no way to release a key: want %q, %q or %q", key, how, RetryHead, DiscardHead, SkipHead)
	case key == "":
		return errors.New("outbox: release key: the key is empty: entries without a key are in no order, and never parked")
	}
	released, err := o.release(ctx, plugin.Tables(), key, head, how)
	if err != nil {
		return fmt.Errorf("outbox: release key %q: %w", key, err)
	}
	plugin.Monitor().Publish(&reliable.KeyReleased{Key: key, Entry: released, How: string(how)})
	plugin.Wake()
	return nil
}

// ReleaseKeys is [Outbox.ReleaseKey] for what is parked and passes f, parked for
// longest first, each key in a transaction of its own. It returns how many it
// released; keys that somebody else released meanwhile don't count. A head that
// is retried and fails again parks its key again, behind all others.
func (o *Outbox) ReleaseKeys(ctx context.Context, f ParkedFilter, how Release) (released int, err error) {
	keys, err := o.ParkedKeys(ctx, f)
	if err != nil {
		return 0, err
	}
	for _, k := range keys {
		switch err := o.ReleaseKey(ctx, k.Key, k.Head, how); {
		case err == nil:
			released++
		case !errors.Is(err, ErrNotParked):
			return released, err
		}
	}
	return released, nil
}

// release does it in a transaction, and returns the head. The head is locked
// before the row of the parked key, as workers do.
func (o *Outbox) release(ctx context.Context, t reliable.Tables, key string, head int64, how Release) (id int64, err error) {
	var refused error // the transaction commits all the same
	err = inTx(o.session(ctx), func(tx *gorm.DB) error {
		refused = nil
		row, err := selectParkedRow(tx, t, key)
		if err != nil {
			return err
		}
		e, err := lockEntry(tx, t, key, row)
		if e == nil && err == nil { // no row, or one that tells of the past
			e, err = lockDead(tx, t, key, 0)
		}
		if err != nil {
			return err
		}
		switch {
		case e == nil:
			refused = fmt.Errorf("%w: call ParkedKeys for those that are", ErrNotParked)
			if row != 0 { // what it tells of is over
				refused = fmt.Errorf("%w: entry %d, at which it stood, is not dead any more", ErrNotParked, row)
				return deleteParked(tx, t, key, row)
			}
			return nil
		case head != 0 && head != e.ID:
			refused = fmt.Errorf("%w at entry %d: it stands at entry %d: look at that, then release it", ErrNotParked, head, e.ID)
			return nil
		}
		id = e.ID
		if err := act(tx, t, e, how); err != nil {
			return err
		}
		return passOn(tx, t, key, row, e.ID)
	})
	if err != nil {
		return 0, err
	}
	return id, refused
}

// act does to the head what the operator wants.
func act(tx *gorm.DB, t reliable.Tables, e *deadEntry, how Release) error {
	switch how {
	case RetryHead:
		kind, callbacks, err := e.Redrive()
		if err != nil {
			return fmt.Errorf("entry %d: %w: %w: discard or skip it", e.ID, ErrUnreadable, err)
		}
		return updateRetried(tx, t, e, kind, callbacks)
	case DiscardHead:
		err := moveToHistory(tx, t, e.ID)
		if err != nil && strings.Contains(err.Error(), "no partition of relation") {
			return fmt.Errorf("the history has no partition for today: start a worker that archives what is done, or use SkipHead: %w", err)
		}
		return err
	default:
		return updateSkipped(tx, t, e.ID)
	}
}

// passOn removes the row of a key that goes on, unless another of its entries is
// dead: the key stands at that then.
func passOn(tx *gorm.DB, t reliable.Tables, key string, row, released int64) error {
	next, err := lockDead(tx, t, key, released)
	switch {
	case err != nil:
		return err
	case next != nil:
		return upsertParked(tx, t, next)
	default:
		return deleteParked(tx, t, key, row, released)
	}
}

// inTx runs f in a transaction that sees what is committed.
func inTx(db *gorm.DB, f func(tx *gorm.DB) error) error {
	if db.Name() == "sqlite" {
		return db.Transaction(f)
	}
	return db.Transaction(f, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
}
