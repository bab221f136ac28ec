package processors

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// A worker that dies leaves entries of which one may have killed it. They are
// suspects, and run one at a time with nothing else in the process: what kills
// a worker then is known, and only that is counted. A rescuer also counts when
// the worker lives and only lost its lease: that worker takes it back.

// defaultPatience is how long a suspect waits for other entries, or they for
// it: longer than callbacks may usually take. After that it runs in company,
// and a crash is nobody's.
const defaultPatience = 2 * time.Minute

// errCompany says that a suspect is due, but that other entries run.
var errCompany = errors.New("processors: a suspect must run alone")

// findSuspect locks a suspect that is due.
func (p *NonOrdered) findSuspect(ctx context.Context, tx *sql.Tx) ([]candidate, error) {
	found, err := p.retries(ctx, tx, true, 1)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	if p.held() > 0 && time.Now().After(p.crowdedTo) {
		return nil, errCompany
	}
	p.wasSuspect = true
	return found, nil
}

// makeRoom waits until nothing is held, so that a suspect can run alone.
func (p *NonOrdered) makeRoom(ctx context.Context) error {
	empty, err := p.until(ctx, func() bool { return len(p.claims) == 0 })
	if err == nil && !empty {
		p.crowdedTo = time.Now().Add(10 * p.patience)
	}
	return err
}

// leaveAlone waits until a suspect that runs alone is finished. If that takes
// too long, it gets company.
func (p *NonOrdered) leaveAlone(ctx context.Context) error {
	c := p.lone
	if c == nil {
		return nil
	}
	finished, err := p.until(ctx, func() bool { return p.claims[c.token] == nil })
	if err != nil {
		return err
	}
	if !finished {
		p.mu.Lock()
		c.alone = false // what is counted from now on is not counted alone
		p.mu.Unlock()
		err = p.claimer.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, p.q.company, c.token)
			return err
		})
		if err != nil {
			return err
		}
	}
	p.lone = nil
	return nil
}

// suspicion is a suspect that ran alone when the lease was lost.
type suspicion struct{ token, entry int64 }

// acquit takes back what rescuers counted against suspects that ran alone here
// while this worker was taken for dead: it lives, so they killed nobody. One
// that this made dead is due again. It returns how many suspicions it dealt
// with. The claim's own row, if it is still there, shows that nobody counted.
func (p *NonOrdered) acquit(ctx context.Context, tx *sql.Tx) (n int, err error) {
	p.mu.Lock()
	suspicions := slices.Clone(p.suspicions)
	p.mu.Unlock()
	for _, s := range suspicions {
		own, err := tx.ExecContext(ctx, p.q.deleteClaims, idList(p.dialect, []int64{s.token}))
		if err != nil {
			return 0, err
		}
		if there, err := own.RowsAffected(); err != nil || there > 0 {
			if err != nil {
				return 0, err
			}
			continue
		}
		args := []any{s.entry, p.MaxCrashes}
		if p.dialect != "postgres" {
			args = []any{p.MaxCrashes, p.MaxCrashes, p.MaxCrashes, s.entry}
		}
		if _, err := tx.ExecContext(ctx, p.q.acquit, args...); err != nil {
			return 0, err
		}
		if p.lanes != nil {
			if _, err := tx.ExecContext(ctx, p.q.unpark, s.entry); err != nil {
				return 0, err
			}
		}
	}
	return len(suspicions), nil
}

// until waits until ok holds, but not longer than p.patience. It reports
// whether ok holds, which it calls under the mutex.
func (p *NonOrdered) until(ctx context.Context, ok func() bool) (bool, error) {
	p.site.beat(loopClaim, p.patience+alive)
	patience := time.NewTimer(p.patience)
	defer patience.Stop()
	for {
		p.mu.Lock()
		holds := ok()
		p.mu.Unlock()
		if holds {
			return true, nil
		}
		select {
		case <-p.settled:
		case <-patience.C:
			return false, nil
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// unfinished calls f, under the mutex, for each entry that is held.
func (p *NonOrdered) unfinished(f func(e *reliable.OutboxEntry)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.claims {
		rest := c.rest
		for _, e := range c.entries {
			if len(rest) > 0 && rest[0] == e.ID { // both are by id
				rest = rest[1:]
				f(e)
			}
		}
	}
}

// held returns how many claims are not finished.
func (p *NonOrdered) held() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.claims)
}

// forget drops a claim that is finished, released or lost, under the mutex.
func (p *NonOrdered) forget(token int64) {
	delete(p.claims, token)
	select {
	case p.settled <- struct{}{}:
	default:
	}
}
