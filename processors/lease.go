package processors

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/failpoint"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// idDigits is how many hexadecimal digits tell the ids of one worker apart.
const idDigits = 8

// register makes a row in outbox_workers, under a new id. What was claimed
// under an id whose lease was given up is given back: nothing of it killed a
// process, so that none of it is suspect.
func (p *NonOrdered) register(ctx context.Context, s *session) error {
	old := p.id()
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	var id string
	var sent time.Time
	acquitted := 0
	err = s.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		id, sent = fmt.Sprintf("%s-%0*x", p.site.Worker, idDigits, rand.Uint32()), time.Now()
		if old != "" {
			if acquitted, err = p.acquit(ctx, tx); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, p.q.abandon, old, idList(p.dialect, nil)); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, p.q.deregister, old); err != nil {
				return err
			}
		}
		if err := p.admit(ctx, tx); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, p.q.register, id, p.Name(), p.LeaseTTL.Milliseconds(), p.site.Threads, host, os.Getpid())
		return err
	})
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.worker, p.lapsed, p.frontier = id, false, frontier{}
	p.suspicions = slices.Delete(p.suspicions, 0, acquitted)
	p.trust(sent)
	p.mu.Unlock()
	p.renewed(sent)
	return nil
}

// keep renews the lease and takes over from dead workers until ctx is done.
func (p *NonOrdered) keep(ctx context.Context, s *session) {
	defer p.deadline.Stop()
	third := p.LeaseTTL / 3
	minutely := time.Now().Add(time.Minute)
	rest := third
	for {
		p.site.beat(loopLease, 2*rest+alive)
		pause := time.NewTimer(rest - rest/10 + rand.N(rest/5))
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
		ctx := context.WithoutCancel(ctx) // a round that has begun is finished
		failpoint.Hit("heartbeat.before")
		if rest = third; !p.renew(ctx, s) {
			rest = third / 4 // there is time for another try before the lease is over
			continue         // and none for what else there is to do
		}
		if err := s.inTx(ctx, p.readPauses); err != nil {
			p.trouble("read pauses", err)
		}
		if err := p.rescue(ctx, s); err != nil {
			p.trouble("rescue", err)
		}
		if now := time.Now(); now.After(minutely) {
			minutely = now.Add(time.Minute)
			p.countOrphans(ctx, s)
		}
	}
}

// renew renews the lease, or takes another if it is over. It reports whether
// the worker has one.
func (p *NonOrdered) renew(ctx context.Context, s *session) bool {
	if !p.expired() { // or else it would keep what was given up from everybody
		err := p.beat(ctx, s)
		if err != nil {
			p.trouble("heartbeat", err)
		}
		if !p.expired() {
			return err == nil
		}
	}
	if p.lingers() {
		return false
	}
	if err := p.register(ctx, s); err != nil {
		p.trouble("register", err)
		return false
	}
	return true
}

// beat renews the lease and sweeps away emptied claims.
func (p *NonOrdered) beat(ctx context.Context, s *session) error {
	sent := time.Now()
	var alive int64
	err := p.sweep(ctx, s, func(ctx context.Context, tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx, p.q.beat, p.id())
		if err != nil {
			return err
		}
		alive, err = result.RowsAffected()
		failpoint.Hit("heartbeat.written")
		return err
	})
	if err != nil {
		return err
	}
	p.mu.Lock()
	renewed := alive > 0 && !p.lapsed // or else it was given up meanwhile
	switch {
	case renewed:
		p.trust(sent)
	case alive == 0:
		p.trusted = time.Time{} // somebody took us for dead
	}
	p.mu.Unlock()
	if renewed {
		p.renewed(sent)
	}
	return nil
}

// renewed tells that the lease lasts from sent on.
func (p *NonOrdered) renewed(sent time.Time) {
	p.site.Plugin.Monitor().Publish(&reliable.HeartbeatSent{Worker: p.site.Worker, Sent: sent, Took: time.Since(sent)})
}

// sweep deletes emptied claims and does what else there is to do, in one
// transaction.
func (p *NonOrdered) sweep(ctx context.Context, s *session, more func(context.Context, *sql.Tx) error) error {
	p.mu.Lock()
	spent := slices.Clone(p.spent)
	p.mu.Unlock()
	err := s.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if len(spent) > 0 {
			if _, err := tx.ExecContext(ctx, p.q.deleteClaims, idList(p.dialect, spent)); err != nil {
				return err
			}
		}
		return more(ctx, tx)
	})
	if err == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.spent = slices.Delete(p.spent, 0, len(spent)) // others came behind them
	}
	return err
}

// trust notes, under the mutex, that the lease lasts from sent on. If it is not
// renewed by then, all claims are given up at that moment, whatever the
// heartbeat waits for.
func (p *NonOrdered) trust(sent time.Time) {
	p.trusted = sent.Add(p.LeaseTTL)
	if p.deadline == nil {
		p.deadline = time.AfterFunc(time.Until(p.trusted), func() { p.expired() })
	} else {
		p.deadline.Reset(time.Until(p.trusted))
	}
}

// expired reports whether the lease can't be trusted any more. Then every claim
// is given up: it is, or will be, another worker's. A lease that was given up
// once is not trusted again, even if a late heartbeat finds it valid: the worker
// registers anew.
func (p *NonOrdered) expired() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.lapsed && time.Now().Before(p.trusted) {
		return false
	}
	p.giveUp()
	return true
}

// lingers reports whether a lease that was given up still lasts: what is
// cancelled may not have ended, and nobody shall take it up before that.
func (p *NonOrdered) lingers() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lapsed && time.Now().Before(p.trusted)
}

// gone gives up every claim of a lease that somebody else has ended.
func (p *NonOrdered) gone() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trusted = time.Time{}
	p.giveUp()
}

// lose gives up every claim.
func (p *NonOrdered) lose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.giveUp()
}

func (p *NonOrdered) giveUp() {
	p.lapsed = true
	for token, c := range p.claims {
		close(c.lost)
		if c.alone {
			p.suspicions = append(p.suspicions, suspicion{token, c.entries[0].ID})
		}
		p.forget(token)
	}
}
