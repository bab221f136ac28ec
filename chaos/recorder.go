package chaos

import (
	"context"

	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Recorder is a processor that writes its claims, and what becomes of them, to
// a ledger.
type Recorder struct {
	*processors.NonOrdered
	Ledger *Ledger
}

// Claim implements [processors.EntriesProcessor].
func (r *Recorder) Claim(ctx context.Context, n int) (processors.Claim, error) {
	before := Now()
	if err := r.Ledger.Write("claiming"); err != nil {
		return nil, err
	}
	c, err := r.NonOrdered.Claim(ctx, n)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return nil, r.Ledger.Write("idle")
	}
	select {
	case <-c.Lost(): // nothing of it may run
		return c, nil
	default:
	}
	ids := make([]int64, 0, len(c.Entries()))
	for _, e := range c.Entries() {
		ids = append(ids, e.ID)
	}
	return &recorded{c, r.Ledger}, r.Ledger.Write("claim", c.Token(), before, ids)
}

// recorded is a claim of a Recorder.
type recorded struct {
	processors.Claim
	ledger *Ledger
}

// Finish implements [processors.Claim].
func (c *recorded) Finish(ctx context.Context, outcomes []reliable.Outcome) error {
	all, done := make([]int64, 0, len(outcomes)), make([]int64, 0, len(outcomes))
	for i := range outcomes {
		all = append(all, outcomes[i].Entry.ID)
		if s := outcomes[i].State; s == reliable.StateDone || s == reliable.StateDead {
			done = append(done, outcomes[i].Entry.ID)
		}
	}
	if err := c.ledger.Write("finishing", c.Token(), all); err != nil {
		return err
	}
	if err := c.Claim.Finish(ctx, outcomes); err != nil {
		return err
	}
	return c.ledger.Write("finished", c.Token(), done)
}

// Release implements [processors.Claim].
func (c *recorded) Release(ctx context.Context) error {
	ids := make([]int64, 0, len(c.Entries()))
	for _, e := range c.Entries() {
		ids = append(ids, e.ID)
	}
	if err := c.ledger.Write("releasing", c.Token(), ids); err != nil {
		return err
	}
	return c.Claim.Release(ctx)
}
