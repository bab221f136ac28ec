package outbox

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Result is what an operation did to the entries that a filter selects.
type Result struct {
	Done    int `json:"done"`    // entries that it changed
	Skipped int `json:"skipped"` // that passed, but were another's by then, or could not be changed: see the error

	// Next is the After for what is left, if the filter has a Limit; 0 if
	// nothing is.
	Next int64 `json:"next,omitempty"`
}

// ErrUnselective says that a filter selects everything, which operations don't
// take.
var ErrUnselective = errors.New("the filter selects everything: set what to change, or State for all that is dead")

// mostErrors is how many entries that can't be changed an error names.
const mostErrors = 10

// Retry has dead entries tried again that pass f, in the order of ids: they are
// due at once and have all their attempts before them. Of their callbacks,
// those that are done or discarded don't run again. The head of a parked key is
// released, as by [Outbox.ReleaseKey]; an entry outside of the order gets its
// place in it back. Workers are woken.
//
// f must select something; its State is [Dead], the default, or [Parked]. Its
// Limit bounds the call, 0 for no bound: with one, call again with After set to
// Result.Next. Entries are changed by the hundred, each hundred in a transaction
// of its own: after an error, what is done stays done, and the call can be
// repeated. Any number of operators and workers may be at it: an entry is
// changed by one of them and skipped by the others. An entry that can't be read
// is skipped and named in the error, which comes at the end. The events are
// [reliable.EntriesChanged] and [reliable.KeyReleased].
func (o *Outbox) Retry(ctx context.Context, f Filter) (Result, error) {
	result, err := o.change(ctx, f, RetryHead, "", Dead, Parked)
	if err != nil {
		return result, fmt.Errorf("outbox: retry: %w", err)
	}
	return result, nil
}

// Discard gives entries up that pass f: they go to the history as they are, with
// their errors, under token 0. It takes what [Outbox.Retry] takes, and the state
// [Orphan], for pending entries that no binary knows any more: make sure that
// this one is the newest. What a worker holds is skipped. On PostgreSQL it takes
// today's partition of the history, which workers make that archive what is
// done.
func (o *Outbox) Discard(ctx context.Context, f Filter) (Result, error) {
	result, err := o.change(ctx, f, DiscardHead, "", Dead, Parked, Orphan)
	if err != nil {
		return result, fmt.Errorf("outbox: discard: %w", err)
	}
	return result, nil
}

// ReleaseHeads is [Outbox.ReleaseKey] for the keys that stand at entries that
// pass f, in the order of ids. It takes what [Outbox.Retry] takes, but for the
// state, which is [Parked].
func (o *Outbox) ReleaseHeads(ctx context.Context, f Filter, how Release) (Result, error) {
	if how != RetryHead && how != DiscardHead && how != SkipHead {
		return Result{}, fmt.Errorf("outbox: release: %q is no way to release a key: want %q, %q or %q", how, RetryHead, DiscardHead, SkipHead)
	}
	result, err := o.change(ctx, f, how, "", Parked)
	if err != nil {
		return result, fmt.Errorf("outbox: release: %w", err)
	}
	return result, nil
}

// change does it, page by page. states are what it takes: none, which is the
// first of the others, and those.
func (o *Outbox) change(ctx context.Context, f Filter, how Release, states ...State) (result Result, err error) {
	err = f.check(states...)
	if f.Empty() {
		err = errors.Join(ErrUnselective, err)
	}
	if err != nil {
		return result, err
	}
	if f.State == "" {
		f.State = states[1]
	}
	s, err := o.scan(ctx, f, true)
	if err != nil {
		return result, err
	}
	plugin, err := reliable.From(o.db)
	if err != nil {
		return result, err
	}
	c := &change{o, s.db, plugin, how, &result, nil}
	defer func() {
		if result.Done > 0 {
			plugin.Wake()
		}
	}()
	for left := f.Limit; ; {
		const most = 100
		n := most
		if f.Limit > 0 {
			n = min(n, left)
		}
		page, err := s.page(n, MaxLooked)
		if err != nil {
			return result, errors.Join(append(c.refused, err)...)
		}
		if err := c.apply(ctx, page.Entries, f.State == Orphan); err != nil {
			return result, errors.Join(append(c.refused, err)...)
		}
		left -= len(page.Entries)
		if result.Next = page.Next; page.Next == 0 || f.Limit > 0 && left <= 0 {
			return result, errors.Join(c.refused...)
		}
	}
}

// change is what an operation does to a part of the entries.
type change struct {
	o       *Outbox
	db      *gorm.DB
	plugin  *reliable.Plugin
	how     Release
	result  *Result
	refused []error
}

// apply does it in the order of ids: those at which a key stands one by one,
// what is between them at once.
func (c *change) apply(ctx context.Context, entries []Entry, pending bool) error {
	var loose []int64
	flush := func() error {
		ids := loose
		loose = nil
		return c.loose(ids, pending)
	}
	for _, e := range entries {
		if e.State != Parked {
			loose = append(loose, e.ID)
			continue
		}
		if err := flush(); err != nil {
			return err
		}
		switch err := c.o.ReleaseKey(ctx, e.Key, e.ID, c.how); {
		case err == nil:
			c.result.Done++
		case errors.Is(err, ErrNotParked):
			c.result.Skipped++
		case errors.Is(err, ErrUnreadable):
			c.refuse(err)
		default:
			return err
		}
	}
	return flush()
}

// loose does it to entries at which no key stands, in one transaction.
func (c *change) loose(ids []int64, pending bool) error {
	if len(ids) == 0 {
		return nil
	}
	t := c.plugin.Tables()
	var done []int64
	var refused []error
	err := inTx(c.db, func(tx *gorm.DB) error {
		done, refused = nil, nil
		locked, err := lockLoose(tx, t, ids, pending)
		if err != nil {
			return err
		}
		for _, e := range locked {
			switch err := act(tx, t, e, c.how); {
			case err == nil:
				done = append(done, e.ID)
			case errors.Is(err, ErrUnreadable):
				refused = append(refused, err)
			default:
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("entries %d to %d: %w", ids[0], ids[len(ids)-1], err)
	}
	if len(done) > 0 {
		c.plugin.Monitor().Publish(&reliable.EntriesChanged{IDs: done, How: string(c.how)})
	}
	c.result.Done += len(done)
	c.result.Skipped += len(ids) - len(done) - len(refused)
	for _, err := range refused {
		c.refuse(err)
	}
	return nil
}

// refuse notes an entry that can't be changed.
func (c *change) refuse(err error) {
	c.result.Skipped++
	if len(c.refused) < mostErrors {
		c.refused = append(c.refused, err)
	}
}
