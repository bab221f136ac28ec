package processors

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Defaults of Housekeeping.
const (
	DefaultRetention  = 72 * time.Hour
	DefaultEvery      = time.Minute
	DefaultDeadRows   = 100_000
	DefaultHorizonAge = 5 * time.Minute
)

// Forever is a retention: what is done stays until somebody else removes it.
const Forever time.Duration = -1

// Housekeeping is what one worker at a time does for all of them: it makes and
// drops the partitions of the history, deletes what is done and old, looks
// for what keeps the database from using space again, and measures how long
// entries wait and how many there are. Which one is said by a
// lease in outbox_duties; every duty may be broken off at any moment and done
// twice. Its connection is not one that claims, finishes or renews a lease, and
// none of its statements waits for a lock for longer than two seconds. What
// fails is published as [reliable.ErrorOccurred] and tried again later.
//
// The zero value is complete. Workers of one outbox should agree: the settings
// of the one that has the lease hold.
type Housekeeping struct {
	// Retention is how long entries that are done stay, in the history or,
	// with [Keep], in outbox_entries. On PostgreSQL the history goes by whole
	// days of UTC, when the last entry of one is old enough. Zero means
	// [DefaultRetention]; [Forever] keeps them. What is not done is never
	// deleted, dead entries included.
	Retention time.Duration

	// Every is how often there is a round, give or take a tenth. Zero means
	// [DefaultEvery].
	Every time.Duration

	// DeadRows and HorizonAge say when [reliable.BloatFound] is due: a table of
	// the outbox has more dead row versions than DeadRows, and either
	// something has kept them for longer than HorizonAge, or vacuum has not
	// run for that long. Zero means [DefaultDeadRows] and [DefaultHorizonAge].
	DeadRows   int64
	HorizonAge time.Duration
}

// defaults fills in what is not set, and reports all that makes no sense.
func (h *Housekeeping) defaults() error {
	h.Retention = cmp.Or(h.Retention, DefaultRetention)
	h.Every = cmp.Or(h.Every, DefaultEvery)
	h.DeadRows = cmp.Or(h.DeadRows, DefaultDeadRows)
	h.HorizonAge = cmp.Or(h.HorizonAge, DefaultHorizonAge)
	var mistakes []error
	if h.Retention < 0 && h.Retention != Forever {
		mistakes = append(mistakes, fmt.Errorf("processors: Retention is %s: want more than 0, 0 for %s, or Forever", h.Retention, DefaultRetention))
	}
	if h.Every < 0 || h.DeadRows < 0 || h.HorizonAge < 0 {
		mistakes = append(mistakes, fmt.Errorf("processors: Every is %s, DeadRows %d, HorizonAge %s: want more than 0, or 0 for the usual", h.Every, h.DeadRows, h.HorizonAge))
	}
	return errors.Join(mistakes...)
}

// housekeeper does it, for one worker.
type housekeeper struct {
	Housekeeping
	site       Site
	dialect    string
	completion Completion
	session    session // open for a round
	q          housekeepingQueries

	duties  []*duty    // in the order of a round
	held    bool       // whether this worker had the lease at its last look,
	renewed time.Time  // and when that began,
	owing   bool       // or whether it may have it and must give it back
	bloat   bloatWatch // what is known of bloat
	front   front      // where fresh entries begin
}

// duty is a part of a round. One that fails is left alone for a while, twice as
// long each time.
type duty struct {
	name     string
	do       func(ctx context.Context) (more bool, err error)
	paced    bool // not done when another duty asks for a round at once
	failures int
	after    time.Time // not before
}

// longestPause is how long a duty that keeps failing is left alone.
const longestPause = time.Hour

// newHousekeeper returns the housekeeper of p's worker, with a connection of
// its own. What is set for a transaction ends with it: it works behind a
// pooler.
func newHousekeeper(p *NonOrdered, pool *sql.DB) *housekeeper {
	h := &housekeeper{
		Housekeeping: p.Housekeeping, site: p.site, dialect: p.dialect, completion: p.Completion,
		session: p.session(pool), q: newHousekeepingQueries(p.dialect, p.site.Plugin.Tables()),
	}
	if h.dialect == "postgres" {
		h.session.setup, h.session.local = "", h.q.bounds
	}
	h.duties = []*duty{
		{name: "make partitions", do: h.makePartitions},
		{name: "drop partitions", do: h.dropPartitions},
		{name: "prune history", do: h.pruneHistory},
		{name: "index kept entries", do: h.indexKept},
		{name: "prune kept entries", do: h.pruneKept},
		{name: "look for bloat", do: h.lookForBloat},
		{name: "measure latency", do: h.measureLatency, paced: true},
		{name: "measure the outbox", do: h.measureOutbox, paced: true},
	}
	return h
}

// run has a round now and then until ctx is done, then gives the lease back.
func (h *housekeeper) run(ctx context.Context) {
	defer h.session.close()
	h.session.beat = func() { h.site.beat(loopHousekeeping, alive) }
	h.site.beat(loopHousekeeping, h.Every+alive)
	pause := time.NewTimer(rand.N(h.Every))
	defer pause.Stop()
	for {
		select {
		case <-pause.C:
		case <-ctx.Done():
			h.release(ctx)
			h.site.beat(loopHousekeeping, 0)
			return
		}
		next := h.Every - h.Every/10 + rand.N(h.Every/5+1)
		if h.round(ctx) {
			next = min(next, time.Second)
		}
		h.site.beat(loopHousekeeping, next+alive)
		pause.Reset(next)
	}
}

// round does every duty once, if this worker has the lease or gets it. It
// reports whether there is more to do at once.
func (h *housekeeper) round(ctx context.Context) (more bool) {
	defer h.session.drop()
	h.renewed = time.Time{}
	for _, d := range h.duties {
		if time.Now().Before(d.after) {
			continue
		}
		if !h.held || time.Since(h.renewed) > h.lease()/4 {
			if held, err := h.hold(ctx); err != nil || !held {
				h.trouble(ctx, "lease", err)
				return false
			}
		}
		again, err := d.do(ctx)
		if err != nil && ctx.Err() == nil {
			d.after = time.Now().Add(min(min(h.Every, longestPause)<<min(d.failures, 10), longestPause))
			d.failures++
			h.trouble(ctx, d.name, err)
			continue
		}
		d.failures = 0
		if d.paced {
			d.after = time.Now().Add(h.Every * 4 / 5) // a round comes a tenth early at most
		}
		more = more || again
	}
	return more
}

// hold takes the lease, or renews it. It reports whether this worker has it.
func (h *housekeeper) hold(ctx context.Context) (held bool, err error) {
	sent := time.Now()
	h.held = false
	err = h.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for range 2 {
			result, err := tx.ExecContext(ctx, h.q.take, h.site.Worker, h.q.ahead(h.lease()), h.site.Worker)
			if err != nil {
				return err
			}
			rows, err := result.RowsAffected()
			if held = rows > 0; held || err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, h.q.seed); err != nil { // somebody may have emptied the table
				return err
			}
		}
		return nil
	})
	h.held, h.renewed = held && err == nil, sent
	h.owing = held || err != nil
	if !h.held {
		h.bloat = bloatWatch{} // the other one tells
	}
	return h.held, err
}

// lease is how long the lease holds without being renewed: longer than any
// duty takes between two looks at it.
func (h *housekeeper) lease() time.Duration { return max(3*h.Every, time.Minute) }

// releaseTimeout bounds what a worker's end waits for: without an answer, the
// lease ends by itself.
const releaseTimeout = 2 * time.Second

// release gives the lease back, if this worker has it, or may have it: when
// the last look at it was broken off.
func (h *housekeeper) release(ctx context.Context) {
	if !h.owing {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	err := h.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, h.q.release, h.site.Worker)
		return err
	})
	h.trouble(ctx, "release", err)
}

// inTx runs f in a short READ COMMITTED transaction.
func (h *housekeeper) inTx(ctx context.Context, f func(ctx context.Context, tx *sql.Tx) error) error {
	return h.session.inTx(ctx, f)
}

// outsideTx runs a statement that can't run in a transaction.
func (h *housekeeper) outsideTx(ctx context.Context, statement string) error {
	h.site.beat(loopHousekeeping, alive)
	if err := h.session.connect(ctx); err != nil {
		return err
	}
	_, err := h.session.conn.ExecContext(ctx, statement)
	if err != nil {
		h.session.drop() // in an unknown state
	}
	return err
}

// trouble tells the monitor of an error, unless it is that of the end.
func (h *housekeeper) trouble(ctx context.Context, step string, err error) {
	if err != nil && ctx.Err() == nil {
		h.site.Plugin.Monitor().Publish(&reliable.ErrorOccurred{Worker: h.site.Worker, Step: "housekeeping: " + step, Err: err})
	}
}
