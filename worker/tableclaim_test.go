package worker_test

import (
	"context"
	"errors"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// tableClaim is a claim of a table.
type tableClaim struct {
	table *table
	rows  []*row
	token int64
	at    time.Time
	lost  chan struct{}
	over  bool // it is lost
}

func (c *tableClaim) Entries() (entries []*reliable.OutboxEntry) {
	for _, r := range c.rows {
		entries = append(entries, r.OutboxEntry)
	}
	return entries
}

func (c *tableClaim) Token() int64          { return c.token }
func (c *tableClaim) At() time.Time         { return c.at }
func (c *tableClaim) Lost() <-chan struct{} { return c.lost }

// Finish implements processors.Claim.
func (c *tableClaim) Finish(_ context.Context, outcomes []reliable.Outcome) error {
	err := c.write(outcomes)
	if c.table.wrote != nil {
		c.table.wrote(c.token, outcomes, err)
	}
	return err
}

func (c *tableClaim) write(outcomes []reliable.Outcome) error {
	p := c.table
	if p.finish != nil {
		if err := p.finish(c.token, outcomes); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.over {
		return reliable.ErrLeaseLost
	}
	for _, o := range outcomes {
		r := p.rows[o.Entry.ID-1]
		if r.holder != c {
			p.blame("entry %d has two outcomes in one claim", r.ID)
		}
		r.holder = nil
		switch o.State {
		case reliable.StateDone:
			p.reach(r)
		case reliable.StateDead:
			if r.parked = p.policy == reliable.KeyPark; !r.parked {
				p.reach(r)
			}
		case reliable.StateRetry:
			next := *r.OutboxEntry
			next.Attempts, next.Callbacks = o.Attempts, o.Callbacks
			r.OutboxEntry, r.dueAt = &next, o.RetryAt
		case reliable.StateReleased:
			if r.ran == c {
				p.blame("entry %d ran and is given back", r.ID)
			}
		}
	}
	return nil
}

// reach ends an entry, which must be the first of its key that has not.
func (p *table) reach(r *row) {
	r.ended = true
	for _, other := range p.rows[:r.ID-1] {
		if r.CausalityKey != "" && other.CausalityKey == r.CausalityKey && !other.ended {
			p.blame("entry %d is durable before entry %d of its key", r.ID, other.ID)
		}
	}
}

// FinishIn implements reliable.TxFinisher.
func (c *tableClaim) FinishIn(_ context.Context, _ gorm.ConnPool, o reliable.Outcome) error {
	if c.table.inTx != nil {
		return c.table.inTx(o)
	}
	return nil
}

// FinishedIn implements reliable.TxFinisher.
func (c *tableClaim) FinishedIn(context.Context, reliable.Outcome) (bool, error) {
	return false, errors.New("no COMMIT is in doubt here")
}

// Release implements processors.Claim.
func (c *tableClaim) Release(context.Context) error {
	p := c.table
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range c.rows {
		if r.holder == c {
			r.holder = nil
			p.gave++
		}
	}
	return nil
}
