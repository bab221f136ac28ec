// Package processors decides which entries a worker gets, and makes what
// became of them durable. NonOrdered is the processor for work that may be done
// in any order; every SQL statement is in the files queries*.go.
package processors

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/failpoint"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Defaults of NonOrdered.
const (
	DefaultLeaseTTL   = 10 * time.Second
	DefaultMaxCrashes = 3
)

// Completion says what becomes of an entry that is done.
type Completion string

// What becomes of done entries.
const (
	Archive Completion = "archive" // moved to outbox_history; the default
	Delete  Completion = "delete"  // deleted
	Keep    Completion = "keep"    // marked with processed_at, where it is
)

// NonOrdered works on entries in any order, roughly by age. Several workers
// share a table: an entry is held exactly while its id stands in a row of
// outbox_claims, under that row's fencing token. The zero value is complete.
type NonOrdered struct {
	// LeaseTTL is how long after a worker's last heartbeat others take its
	// entries. It renews at a third of that. Zero means [DefaultLeaseTTL].
	LeaseTTL time.Duration

	// MaxCrashes is how often a worker may die while an entry runs alone
	// before the entry is dead. Zero means [DefaultMaxCrashes].
	MaxCrashes int

	// Completion says what becomes of done entries. Empty means [Archive].
	Completion Completion

	site    Site
	dialect string
	q       queries
	ready   chan struct{}
	once    sync.Once

	claimer  session // used by Claim alone
	finishMu sync.Mutex
	finisher session // guarded by finishMu

	mu        sync.Mutex
	worker    string // id of the row in outbox_workers
	trusted   time.Time
	claims    map[int64]*claim
	spent     []int64 // tokens of claims that are finished, for the sweep
	watermark int64   // highest id that the fresh scan saw
	orphans   map[int64]*reliable.OutboxEntry

	rescanAt time.Time // Claim's own: when to scan from the start again,
	retryAt  time.Time // when to look for retries again,
	wasAlone bool      // and whether the last claim was a suspect's
}

// Run implements [EntriesProcessor].
func (p *NonOrdered) Run(ctx context.Context, site Site, ready func()) error {
	pool, err := p.open(site)
	if err != nil {
		return err
	}
	keeper := p.session(pool)
	defer func() {
		keeper.close()
		p.claimer.close() // ctx ends only when no Claim runs any more
		p.finishMu.Lock()
		p.finisher.close()
		p.finishMu.Unlock()
	}()
	if err := p.check(ctx, &keeper); err != nil {
		return err
	}
	if err := p.register(ctx, &keeper); err != nil {
		return fmt.Errorf("processors: register the worker: %w", err)
	}
	ready()
	p.once.Do(func() { close(p.started()) })
	p.keep(ctx, &keeper)
	leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), statementTimeout)
	defer cancel()
	err = keeper.inTx(leave, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, p.q.deleteClaims, idList(p.dialect, p.takeSpent())); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, p.q.deregister, p.id())
		return err
	})
	if err != nil {
		p.trouble("deregister", err)
	}
	return nil
}

// open checks the settings and prepares the sessions.
func (p *NonOrdered) open(site Site) (*sql.DB, error) {
	p.site, p.dialect = site, site.DB.Name()
	p.LeaseTTL = cmp.Or(p.LeaseTTL, DefaultLeaseTTL)
	p.MaxCrashes = cmp.Or(p.MaxCrashes, DefaultMaxCrashes)
	p.Completion = cmp.Or(p.Completion, Archive)
	var mistakes []error
	if p.LeaseTTL < 100*time.Millisecond {
		mistakes = append(mistakes, fmt.Errorf("processors: LeaseTTL is %s: want 100ms or more", p.LeaseTTL))
	}
	if p.MaxCrashes < 0 {
		mistakes = append(mistakes, fmt.Errorf("processors: MaxCrashes is %d: want 1 or more", p.MaxCrashes))
	}
	if p.Completion != Archive && p.Completion != Delete && p.Completion != Keep {
		mistakes = append(mistakes, fmt.Errorf("processors: Completion is %q: want archive, delete or keep", p.Completion))
	}
	pool, err := site.DB.DB()
	if err != nil {
		return nil, errors.Join(append(mistakes, err)...)
	}
	if most := pool.Stats().MaxOpenConnections; p.dialect != "sqlite" && most > 0 && most < OwnSessions+1 {
		mistakes = append(mistakes, fmt.Errorf("processors: the pool has at most %d connections: the worker takes %d for itself and callbacks need some: SetMaxOpenConns(%d) or more",
			most, OwnSessions, OwnSessions+site.Threads+2))
	}
	p.q = newQueries(p.dialect, site.Plugin.Tables())
	p.claims, p.orphans = make(map[int64]*claim), make(map[int64]*reliable.OutboxEntry)
	p.claimer, p.finisher = p.session(pool), p.session(pool)
	return pool, errors.Join(mistakes...)
}

// OwnSessions is how many connections NonOrdered keeps for itself: to claim, to finish,
// and for the heartbeat.
const OwnSessions = 3

// session returns a connection for the worker itself. JIT and parallel plans
// cost short statements far more than they save.
func (p *NonOrdered) session(pool *sql.DB) session {
	s := session{pool: pool, pin: p.dialect != "sqlite"}
	if p.dialect == "postgres" {
		s.setup = []string{
			"SET jit = off", "SET max_parallel_workers_per_gather = 0", "SET statement_timeout = '10s'",
			"SET lock_timeout = '5s'", "SET idle_in_transaction_session_timeout = '15s'",
		}
	}
	return s
}

// started is closed when Claim may begin.
func (p *NonOrdered) started() chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ready == nil {
		p.ready = make(chan struct{})
	}
	return p.ready
}

// check reports missing tables and makes the partitions of the next days.
func (p *NonOrdered) check(ctx context.Context, s *session) error {
	err := s.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var n int64
		return tx.QueryRowContext(ctx, p.q.countKind, 0).Scan(&n)
	})
	if err != nil {
		return fmt.Errorf("reliable: table %s can't be read: call migrations.Up(ctx, db) or run \"reliable migrate up\": %w", p.site.Plugin.Tables().Entries(), err)
	}
	if err := p.partitions(ctx, s); err != nil {
		return fmt.Errorf("processors: partitions of %s: %w", p.site.Plugin.Tables().History(), err)
	}
	return nil
}

// register makes a row in outbox_workers, under a new id.
func (p *NonOrdered) register(ctx context.Context, s *session) error {
	id := fmt.Sprintf("%s-%08x", p.site.Worker, rand.Uint32())
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	sent := time.Now()
	err = s.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, p.q.register, id, "non_ordered", p.LeaseTTL.Milliseconds(), p.site.Threads, host, os.Getpid())
		return err
	})
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.worker, p.trusted = id, sent.Add(p.LeaseTTL)
	return nil
}

// keep renews the lease and takes over from dead workers until ctx is done.
func (p *NonOrdered) keep(ctx context.Context, s *session) {
	third := p.LeaseTTL / 3
	hourly := time.Now().Add(time.Hour)
	minutely := time.Now().Add(time.Minute)
	for {
		pause := time.NewTimer(third - third/10 + rand.N(third/5))
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
		failpoint.Hit("heartbeat.before")
		if err := p.beat(ctx, s); err != nil {
			p.trouble("heartbeat", err)
		}
		if p.expired() {
			p.lose()
			if err := p.register(ctx, s); err != nil {
				p.trouble("register", err)
			}
		}
		if err := p.rescue(ctx, s); err != nil {
			p.trouble("rescue", err)
		}
		if now := time.Now(); now.After(minutely) {
			minutely = now.Add(time.Minute)
			p.countOrphans(ctx, s)
		}
		if now := time.Now(); now.After(hourly) {
			hourly = now.Add(time.Hour)
			if err := p.partitions(ctx, s); err != nil {
				p.trouble("partitions", err)
			}
		}
	}
}

// beat renews the lease and sweeps away emptied claims.
func (p *NonOrdered) beat(ctx context.Context, s *session) error {
	sent := time.Now()
	var alive int64
	err := s.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx, p.q.beat, p.id())
		if err != nil {
			return err
		}
		alive, err = result.RowsAffected()
		return err
	})
	if err != nil {
		return err
	}
	p.mu.Lock()
	if alive > 0 {
		p.trusted = sent.Add(p.LeaseTTL)
	} else {
		p.trusted = time.Time{} // somebody took us for dead
	}
	p.mu.Unlock()
	p.site.Plugin.Monitor().Publish(&reliable.HeartbeatSent{Worker: p.site.Worker, Took: time.Since(sent)})
	if spent := p.takeSpent(); len(spent) > 0 {
		return s.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, p.q.deleteClaims, idList(p.dialect, spent))
			return err
		})
	}
	return nil
}

// trouble tells the monitor of an error that the loop survives.
func (p *NonOrdered) trouble(step string, err error) {
	p.site.Plugin.Monitor().Publish(&reliable.ErrorOccurred{Worker: p.site.Worker, Step: step, Err: err})
}

func (p *NonOrdered) id() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.worker
}

// expired reports whether the lease can't be trusted any more.
func (p *NonOrdered) expired() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !time.Now().Before(p.trusted)
}

// lose gives up every claim: they are, or will be, another worker's.
func (p *NonOrdered) lose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for token, c := range p.claims {
		close(c.lost)
		delete(p.claims, token)
	}
}

// takeSpent returns the tokens of emptied claims, and forgets them.
func (p *NonOrdered) takeSpent() []int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	spent := p.spent
	p.spent = nil
	return spent
}
