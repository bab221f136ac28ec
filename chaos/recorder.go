package chaos

import (
	"context"
	"errors"

	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Record returns a processor that writes the claims of another one, and what
// becomes of them, to a ledger.
func Record(p processors.EntriesProcessor, l *Ledger) processors.EntriesProcessor {
	r := recorder{p, l}
	if ordered, ok := p.(processors.KeyOrdered); ok {
		return &struct {
			recorder
			processors.KeyOrdered
		}{r, ordered}
	}
	return &r
}

// recorder writes claims to a ledger.
type recorder struct {
	processors.EntriesProcessor
	ledger *Ledger
}

// Claim implements [processors.EntriesProcessor].
func (r *recorder) Claim(ctx context.Context, n int) (processors.Claim, error) {
	before := Now()
	if err := r.ledger.Write("claiming"); err != nil {
		return nil, err
	}
	c, err := r.EntriesProcessor.Claim(ctx, n)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return nil, r.ledger.Write("idle")
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
	return &recorded{c, r.ledger}, r.ledger.Write("claim", c.Token(), before, ids)
}

// recorded is a claim of a recorder.
type recorded struct {
	processors.Claim
	ledger *Ledger
}

// Finish implements [processors.Claim].
func (c *recorded) Finish(ctx context.Context, outcomes []reliable.Outcome) error {
	finishing, done := make([]int64, 0, len(outcomes)), make([]int64, 0, len(outcomes))
	var releasing []int64
	for i := range outcomes {
		id, state := outcomes[i].Entry.ID, outcomes[i].State
		if state == reliable.StateReleased {
			releasing = append(releasing, id)
			continue
		}
		finishing = append(finishing, id)
		if state == reliable.StateDone || state == reliable.StateDead {
			done = append(done, id)
		}
	}
	if err := errors.Join(c.tell("releasing", releasing), c.tell("finishing", finishing)); err != nil {
		return err
	}
	if err := c.Claim.Finish(ctx, outcomes); err != nil {
		return err
	}
	return c.tell("finished", done)
}

// tell writes what becomes of entries, if there are any.
func (c *recorded) tell(kind string, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	return c.ledger.Write(kind, c.Token(), ids)
}

// Release implements [processors.Claim].
func (c *recorded) Release(ctx context.Context) error {
	ids := make([]int64, 0, len(c.Entries()))
	for _, e := range c.Entries() {
		ids = append(ids, e.ID)
	}
	if err := c.tell("releasing", ids); err != nil {
		return err
	}
	return c.Claim.Release(ctx)
}
