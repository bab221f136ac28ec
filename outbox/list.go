package outbox

import (
	"context"
	"errors"
	"fmt"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// ErrNotFound says that there is no such entry in the outbox: it may be done.
var ErrNotFound = errors.New("not found")

// Page is a part of a list.
type Page struct {
	Entries []Entry `json:"entries"` // by id

	// Next is the After of the next page, 0 if this was the last one.
	Next int64 `json:"next,omitempty"`

	// Looked is how many rows of the table were looked at. At MaxLooked, or at a
	// fifth of that where an index told which, that ends, Bounded is true, and the
	// page may be short or empty though there is more from Next on.
	Looked  int  `json:"looked"`
	Bounded bool `json:"bounded"`
}

// List returns the entries that pass f, by id, up to f.Limit, 0 for
// [DefaultLimit] and at most [MaxPage]. It reads a bounded part of the table:
// see [Filter].
func (o *Outbox) List(ctx context.Context, f Filter) (Page, error) {
	if err := f.check(); err != nil {
		return Page{}, fmt.Errorf("outbox: list: %w", err)
	}
	if f.Limit == 0 {
		f.Limit = DefaultLimit
	}
	page, err := o.list(ctx, f, false)
	if err != nil {
		return Page{}, fmt.Errorf("outbox: list: %w", err)
	}
	return page, nil
}

func (o *Outbox) list(ctx context.Context, f Filter, brief bool) (Page, error) {
	s, err := o.scan(ctx, f, brief)
	if err != nil {
		return Page{}, err
	}
	return s.page(min(f.Limit, MaxPage), MaxLooked)
}

// Count is a number of entries.
type Count struct {
	N       int64 `json:"n"`
	AtLeast bool  `json:"at_least,omitempty"` // counting ended at [MaxLooked] rows: there may be more
}

// String returns the number, with a plus sign behind it if there may be more.
func (c Count) String() string {
	if c.AtLeast {
		return fmt.Sprintf("%d+", c.N)
	}
	return fmt.Sprint(c.N)
}

// Count counts the entries that pass f, beginning after f.After, up to f.Limit
// if that is set. It looks at [MaxLooked] rows at most.
func (o *Outbox) Count(ctx context.Context, f Filter) (Count, error) {
	if err := f.check(); err != nil {
		return Count{}, fmt.Errorf("outbox: count: %w", err)
	}
	s, err := o.scan(ctx, f, true)
	if err != nil {
		return Count{}, fmt.Errorf("outbox: count: %w", err)
	}
	c, err := s.count(f.Limit)
	if err != nil {
		return Count{}, fmt.Errorf("outbox: count: %w", err)
	}
	return c, nil
}

// Get returns an entry with what it carries: the changeset masked, arguments and
// headers only by their length. It returns an error that wraps [ErrNotFound] for
// one that is not there. It reads by the primary key.
func (o *Outbox) Get(ctx context.Context, id int64) (*Details, error) { return o.get(ctx, id, false) }

// Reveal is [Outbox.Get] with arguments and headers as they are. They may hold
// what not everybody may read; fields that are tagged sensitive stay masked.
func (o *Outbox) Reveal(ctx context.Context, id int64) (*Details, error) { return o.get(ctx, id, true) }

func (o *Outbox) get(ctx context.Context, id int64, reveal bool) (*Details, error) {
	s, err := o.scan(ctx, Filter{IDs: []int64{id}}, false)
	if err != nil {
		return nil, fmt.Errorf("outbox: entry %d: %w", id, err)
	}
	page, err := s.page(1, MaxLooked)
	if err != nil {
		return nil, fmt.Errorf("outbox: entry %d: %w", id, err)
	}
	if len(page.Entries) == 0 {
		return nil, fmt.Errorf("outbox: entry %d: %w: it is done, or never was", id, ErrNotFound)
	}
	d := &Details{Entry: page.Entries[0]}
	carried, err := selectCarried(s.db, s.tables, id)
	if err != nil {
		return nil, fmt.Errorf("outbox: entry %d: %w", id, err)
	}
	if carried == nil {
		return nil, fmt.Errorf("outbox: entry %d: %w: it ended just now", id, ErrNotFound)
	}
	carried.fill(s.plugin, d, reveal)
	return d, nil
}

// scan prepares to read what passes f. A brief one leaves out what is not
// needed to count and to act.
func (o *Outbox) scan(ctx context.Context, f Filter, brief bool) (*scan, error) {
	plugin, err := reliable.From(o.db)
	if err != nil {
		return nil, err
	}
	if f.State == Orphan && plugin.Registry().Empty() {
		return nil, errors.New("this binary knows no callbacks, so that every entry is an orphan to it: ask the binary of the worker")
	}
	s := &scan{db: o.session(ctx), plugin: plugin, tables: plugin.Tables(), registry: plugin.Registry(), f: f, brief: brief, after: f.After}
	if err := s.prepare(); err != nil {
		return nil, err
	}
	return s, nil
}
