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
	"strings"
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

	// Housekeeping says how the tables are tended.
	Housekeeping Housekeeping

	site    Site
	pool    *sql.DB
	dialect string
	q       queries
	tx      txQueries
	ready   chan struct{}
	once    sync.Once

	claimer  session // used by Claim alone
	finishMu sync.Mutex
	finisher session // guarded by finishMu

	mu       sync.Mutex
	worker   string // id of the row in outbox_workers
	trusted  time.Time
	deadline *time.Timer // fires at trusted
	lapsed   bool        // the lease was given up
	claims   map[int64]*claim
	spent    []int64 // tokens of claims that are finished, for the sweep
	frontier frontier
	orphans  map[int64]*reliable.OutboxEntry

	suspicions []suspicion // to be taken back when the worker registers anew
	lanes      *lanes      // nil unless this is the base of an OrderedByCausalityKey

	settled   chan struct{} // a claim left claims
	patience  time.Duration // with other entries, when a suspect is due
	crowdedTo time.Time     // until when suspects run in company

	retryAt    time.Time // Claim's own: when to look for retries again,
	payload    payload   // how large the claim is, and the next may be,
	wasSuspect bool      // whether the last claim was a suspect's,
	restraint  restraint // what may not run,
	lone       *claim    // and the claim of a suspect that runs alone
	doubt      bool      // whether a claim may be there whose answer was lost
}

// Run implements [EntriesProcessor].
func (p *NonOrdered) Run(ctx context.Context, site Site, ready func()) error {
	pool, err := p.open(site)
	if err != nil {
		return err
	}
	keeper := p.session(pool)
	keeper.beat = func() { site.beat(loopLease, alive) }
	defer site.beat(loopLease, 0)
	p.claimer.beat = func() { site.beat(loopClaim, alive) }
	keeper.timeout = min(max(p.LeaseTTL/4, time.Second), statementTimeout) // so that a new connection renews the lease in time
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
	if p.claimer.pin { // rather now than when the first group is to be finished
		if err := errors.Join(p.claimer.again(ctx, p.claimer.connect), p.finisher.again(ctx, p.finisher.connect)); err != nil {
			return fmt.Errorf("processors: the database gives the worker no connection: %w", err)
		}
	}
	if err := p.register(context.WithoutCancel(ctx), &keeper); err != nil { // broken off, it could leave a row that nobody knows
		return fmt.Errorf("processors: register the worker: %w", err)
	}
	failpoint.Hit("worker.registered")
	ready()
	p.once.Do(func() { close(p.started()) })
	tended := make(chan struct{})
	go func() { defer close(tended); newHousekeeper(p, pool).run(ctx) }()
	p.keep(ctx, &keeper)
	failpoint.Hit("worker.leaving")
	behind := p.held() > 0 || p.lingers()
	p.lose() // what is left: of callbacks that were left behind
	leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), statementTimeout)
	defer cancel()
	err = p.sweep(leave, &keeper, func(ctx context.Context, tx *sql.Tx) error {
		if behind { // they may run on until the process ends: nobody takes over before the lease is over
			return nil
		}
		_, err := tx.ExecContext(ctx, p.q.deregister, p.id())
		return err
	})
	if err != nil {
		p.trouble("deregister", err)
	}
	<-tended
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
	if err := p.Housekeeping.defaults(); err != nil {
		mistakes = append(mistakes, err)
	}
	pool, least, hint := site.Own, OwnSessions, ""
	if pool == nil {
		var err error
		if pool, err = site.DB.DB(); err != nil {
			return nil, errors.Join(append(mistakes, err)...)
		}
		least, hint = OwnSessions+1, ", and callbacks need some"
	}
	if most := pool.Stats().MaxOpenConnections; p.dialect != "sqlite" && most > 0 && most < least {
		mistakes = append(mistakes, fmt.Errorf("processors: the pool has at most %d connections: the worker takes %d for itself%s: SetMaxOpenConns(%d) or more",
			most, OwnSessions, hint, least))
	}
	p.q = newQueries(p.dialect, site.Plugin.Tables(), p.lanes != nil)
	p.tx = newTxQueries(p.dialect, site.Plugin.Tables(), p.Completion)
	p.claims, p.orphans = make(map[int64]*claim), make(map[int64]*reliable.OutboxEntry)
	p.settled, p.patience = make(chan struct{}, 1), cmp.Or(p.patience, defaultPatience)
	p.pool, p.claimer, p.finisher = pool, p.session(pool), p.session(pool)
	return pool, errors.Join(mistakes...)
}

// OwnSessions is how many connections NonOrdered keeps for itself: to claim, to finish,
// for the heartbeat, and, of one worker at a time, for its housekeeping.
const OwnSessions = 4

// session returns a connection for the worker itself. JIT and parallel plans
// cost short statements far more than they save. Nor may a planner that knows
// nothing of the table yet, or what is no longer so, read or sort all of it. A
// transaction that a broken connection left open holds its locks no longer than
// a heartbeat can wait.
func (p *NonOrdered) session(pool *sql.DB) session {
	s := session{pool: pool, pin: p.dialect != "sqlite", deaf: p.dialect == "mysql", closing: new(sync.WaitGroup)}
	switch p.dialect {
	case "postgres":
		settings := []string{
			"jit = off", "max_parallel_workers_per_gather = 0", "enable_seqscan = off", "enable_bitmapscan = off", "enable_sort = off",
			"statement_timeout = '10s'", "lock_timeout = '5s'", "idle_in_transaction_session_timeout = '5s'",
		}
		if p.site.Pooled {
			s.local = "SET LOCAL " + strings.Join(settings, "; SET LOCAL ")
		} else {
			s.setup = "SET " + strings.Join(settings, "; SET ")
		}
	case "mysql":
		s.setup = "SET SESSION tx_isolation = 'READ-COMMITTED', max_statement_time = 10, innodb_lock_wait_timeout = 5, idle_transaction_timeout = 5"
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

// awaitStart waits until Run has registered the worker.
func (p *NonOrdered) awaitStart(ctx context.Context) error {
	select {
	case <-p.started():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// check reports missing tables and makes the partitions of the next days.
func (p *NonOrdered) check(ctx context.Context, s *session) error {
	err := s.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var n int64
		return tx.QueryRowContext(ctx, p.q.countKind, 0).Scan(&n)
	})
	switch what := remedyFor(err); {
	case what == reconnect:
		return fmt.Errorf("processors: the database gives the worker no connection: %w", err)
	case what == repeat: // often, and for seconds: somebody else's long transaction, not a table that is missing
		return fmt.Errorf("processors: the database is busy: start the worker again: %w", err)
	case err != nil:
		return fmt.Errorf("reliable: table %s can't be read: call migrations.Up(ctx, db) or run \"reliable migrate up\": %w", p.site.Plugin.Tables().Entries(), err)
	}
	if err := p.partitions(ctx, s); err != nil {
		return fmt.Errorf("processors: partitions of %s: %w", p.site.Plugin.Tables().History(), err)
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
