package processors

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// OrderedByCausalityKey works on the entries of a causality key one after the
// other, by id, and on many keys at a time. Keys are hashed into [reliable.Lanes]
// lanes, and each worker owns some of them: no other claims entries of theirs.
// The first entry of a key that is not done, its head, blocks the key for as
// long as it waits, runs, is dead, is paused or is not covered by this binary;
// other keys go on. Entries without a key are worked on in any order, by the
// same worker.
//
// What a claim holds, how it is fenced, and what becomes of it when the worker
// dies is as with [NonOrdered]: a lane that changes hands takes nothing from
// the claims of its old owner. All workers of an outbox have the same
// processor. The zero value is complete, and needs no Redis.
type OrderedByCausalityKey struct {
	// LeaseTTL, MaxCrashes, Completion and Housekeeping are those of
	// [NonOrdered].
	LeaseTTL     time.Duration
	MaxCrashes   int
	Completion   Completion
	Housekeeping Housekeeping

	// Policy says what becomes of a key whose head failed for the last time.
	// Empty means [reliable.KeyPark].
	Policy reliable.KeyPolicy

	// Locker is asked before a lane is taken, and may refuse it. Nil means that
	// the database alone decides, which is enough for order.
	Locker Locker

	// WithoutLocker says what to do while the Locker can't be reached. Empty
	// means [Wait].
	WithoutLocker WithoutLocker

	// Assignment says which lanes this worker should own. Nil means [Shares].
	Assignment Assignment

	// Tenant names whose an entry is; a worker holds no more than TenantCap
	// entries of a tenant at a time, so that one with much work leaves room for
	// the others. "" is no tenant, and has no cap. It is called for each entry
	// that a claim considers, and must be fast. A nil Tenant or a TenantCap of 0
	// means no cap.
	Tenant    func(*reliable.OutboxEntry) string
	TenantCap int

	base NonOrdered
}

var _ KeyOrdered = (*OrderedByCausalityKey)(nil)

// WithoutLocker says what a worker does while its Locker can't be reached.
type WithoutLocker string

// What to do without the Locker.
const (
	Wait        WithoutLocker = "wait"     // take no lane, and give up those whose lock runs out; the default
	UseDatabase WithoutLocker = "database" // go on: the lanes' rows in the database are enough for order
)

// Name returns what the worker's row in outbox_workers says, "ordered".
func (p *OrderedByCausalityKey) Name() string { return orderedName }

// KeyPolicy implements [KeyOrdered].
func (p *OrderedByCausalityKey) KeyPolicy() reliable.KeyPolicy {
	return cmp.Or(p.Policy, reliable.KeyPark)
}

// Run implements [EntriesProcessor].
func (p *OrderedByCausalityKey) Run(ctx context.Context, site Site, ready func()) error {
	b := &p.base
	b.LeaseTTL, b.MaxCrashes, b.Completion, b.Housekeeping = p.LeaseTTL, p.MaxCrashes, p.Completion, p.Housekeeping
	lanes, err := newLanes(p, site)
	if err != nil {
		return err
	}
	b.lanes = lanes
	defer lanes.leave(ctx)
	return b.Run(ctx, site, ready)
}

// Claim implements [EntriesProcessor].
func (p *OrderedByCausalityKey) Claim(ctx context.Context, n int) (Claim, error) {
	b := &p.base
	if err := b.awaitStart(ctx); err != nil {
		return nil, err
	}
	if err := b.lanes.rebalance(ctx); err != nil {
		return nil, fmt.Errorf("lanes: %w", err)
	}
	b.lanes.ring.begin()
	for {
		c, err := b.Claim(ctx, n)
		if c != nil || err != nil || !b.lanes.ring.more() {
			return c, err
		}
	}
}

// mistakes reports the settings that make no sense.
func (p *OrderedByCausalityKey) mistakes() error {
	var mistakes []error
	if err := p.Policy.Validate(); err != nil {
		mistakes = append(mistakes, fmt.Errorf("processors: Policy: %w", err))
	}
	if w := p.WithoutLocker; w != "" && w != Wait && w != UseDatabase {
		mistakes = append(mistakes, fmt.Errorf("processors: WithoutLocker is %q: want wait or database", w))
	}
	switch {
	case p.TenantCap < 0:
		mistakes = append(mistakes, fmt.Errorf("processors: TenantCap is %d: want 1 or more, or 0 for none", p.TenantCap))
	case p.TenantCap > 0 && p.Tenant == nil:
		mistakes = append(mistakes, errors.New("processors: TenantCap is set and Tenant is not: say whose an entry is"))
	}
	return errors.Join(mistakes...)
}
