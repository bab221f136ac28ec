package processors

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"strings"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/failpoint"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// claim is a batch that a worker holds.
type claim struct {
	processor *NonOrdered
	worker    string
	token     int64
	at        time.Time
	entries   []*reliable.OutboxEntry
	lost      chan struct{} // closed by the processor, under its mutex
	rest      []int64       // ids not finished; guarded by finishMu, and written under mu as well
	alone     bool          // a suspect, with nothing else running in this process
}

// Entries implements [Claim].
func (c *claim) Entries() []*reliable.OutboxEntry { return c.entries }

// Token implements [Claim].
func (c *claim) Token() int64 { return c.token }

// At implements [Claim].
func (c *claim) At() time.Time { return c.at }

// Lost implements [Claim]. Whoever asks after the lease is over finds it closed.
func (c *claim) Lost() <-chan struct{} {
	c.processor.expired()
	return c.lost
}

// failure is how an outcome that is not done travels to the database.
type failure struct {
	ID           int64   `json:"id"`
	Kind         *int64  `json:"kind"` // the new one
	RetryAt      *string `json:"retry_at"`
	Dead         bool    `json:"dead"`
	Parked       bool    `json:"parked"`
	Failed       bool    `json:"failed"`
	Attempts     int     `json:"attempts"`
	ErrorClass   *string `json:"error_class"`
	ErrorMessage *string `json:"error_message"`
	Callbacks    *string `json:"callbacks"`
}

// Finish implements [Claim].
func (c *claim) Finish(ctx context.Context, outcomes []reliable.Outcome) error {
	select {
	case <-c.lost: // what is not known of a RunTx must not be written over
		return reliable.ErrLeaseLost
	default:
	}
	if len(outcomes) == 0 {
		return nil
	}
	p := c.processor
	p.finishMu.Lock()
	defer p.finishMu.Unlock()
	done, ended := make([]int64, 0, len(outcomes)), make([]int64, 0, len(outcomes))
	var failures []failure
	var released int64 // the lowest id that is only struck
	for i := range outcomes {
		o := &outcomes[i]
		ended = append(ended, o.Entry.ID)
		switch o.State {
		case reliable.StateDone:
			done = append(done, o.Entry.ID)
		case reliable.StateReleased:
			if released == 0 || o.Entry.ID < released {
				released = o.Entry.ID
			}
		case reliable.StateRetry, reliable.StateDead:
			failures = append(failures, p.failure(o))
		}
	}
	rest := without(c.rest, ended)
	write := p.writeTx
	if p.dialect == "postgres" {
		write = p.writeOne
	}
	failpoint.Hit("finish.sending")
	err := write(ctx, c.token, done, failures, rest)
	if err != nil && strings.Contains(err.Error(), "no partition of relation") {
		if err := p.partitions(ctx, &p.finisher); err != nil {
			return err
		}
		err = write(ctx, c.token, done, failures, rest)
	}
	if err != nil {
		return err
	}
	failpoint.Hit("finish.committed")
	if released > 0 {
		c.reopen(released)
	}
	c.close(rest)
	return nil
}

// reopen lets the next scans see what was given back, from id on. What has a
// key is not found by them if it is ordered: its lane is read less deep next.
func (c *claim) reopen(id int64) {
	if l := c.processor.lanes; l != nil {
		l.returned.Store(true)
	}
	for _, e := range c.entries {
		if e.ID >= id && (c.processor.lanes == nil || e.CausalityKey == "") {
			c.processor.lowerMark(e.ID)
			return
		}
	}
}

// without returns those of ids, which are in order, that are not in gone, which
// it sorts.
func without[T cmp.Ordered](ids, gone []T) []T {
	slices.Sort(gone)
	rest := make([]T, 0, max(len(ids)-len(gone), 0))
	for _, id := range ids {
		for len(gone) > 0 && gone[0] < id {
			gone = gone[1:]
		}
		if len(gone) == 0 || gone[0] != id {
			rest = append(rest, id)
		}
	}
	return rest
}

// close notes which ids are left, and forgets a claim of which none is. Its row is emptied, not
// deleted, until the next heartbeat: a finish whose answer was lost finds its
// token when it is repeated, and nothing to do.
func (c *claim) close(rest []int64) {
	p := c.processor
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.rest = rest; len(rest) > 0 {
		return
	}
	p.forget(c.token)
	p.spent = append(p.spent, c.token)
}

func (p *NonOrdered) failure(o *reliable.Outcome) failure {
	f := failure{ID: o.Entry.ID, Dead: o.State == reliable.StateDead, Parked: o.Parked, Failed: o.ErrorClass != "", Attempts: o.Attempts}
	if !f.Dead {
		at := timeText(p.dialect, o.RetryAt)
		f.RetryAt = &at
	}
	if f.Failed {
		class, message := o.ErrorClass[:min(len(o.ErrorClass), 255)], o.ErrorMessage
		f.ErrorClass, f.ErrorMessage = &class, &message
	}
	if o.Kind != 0 {
		f.Kind = &o.Kind
	}
	if len(o.Callbacks) > 0 {
		text := string(o.Callbacks)
		f.Callbacks = &text
	}
	return f
}

// Release implements [Claim].
func (c *claim) Release(ctx context.Context) error {
	p := c.processor
	p.finishMu.Lock()
	defer p.finishMu.Unlock()
	if len(c.rest) == 0 {
		return nil
	}
	failpoint.Hit("release.before")
	err := p.finisher.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, p.q.deleteClaims, idList(p.dialect, []int64{c.token}))
		failpoint.Hit("release.deleted")
		return err
	})
	if err != nil {
		return err
	}
	failpoint.Hit("release.committed")
	c.reopen(c.rest[0])
	p.mu.Lock()
	defer p.mu.Unlock()
	c.rest = nil
	p.forget(c.token)
	return nil
}
