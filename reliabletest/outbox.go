// Package reliabletest runs, within a test, what the test's writes owe: in the
// transaction that the test rolls back in the end, without a worker and without
// waiting.
//
//	tx := db.Begin()
//	t.Cleanup(func() { tx.Rollback() })
//
//	shop.PlaceOrder(tx, "ann@example.com")
//	order := reliabletest.RequireRecorded[Order](t, tx, reliable.OpCreate)
//	reliabletest.Drain(t, tx) // sends the receipt, and what that leads to
//
// [Drain] fails the test if a callback fails; [Run] returns what each came to,
// for tests of failures. [New] gives an [Outbox] whose clock the test moves, to
// see retries, and whose process it lets die, to see what runs again. [Inline] is
// for code that commits: callbacks run right after each commit.
//
// A transaction can't commit in a test that rolls it back, so callbacks work
// inside of it: Change.DB is the test's transaction, in which each transaction of
// a callback is a savepoint. What a callback writes past Change.DB, through a
// database of its own, is outside; there the test's rows are not to be seen.
//
// Tests may run in parallel, each in its own transaction or database.
package reliabletest

import (
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// What one Run does at most. A round runs what is due at its beginning; what
// callbacks write then is due in the next. Chains of captured writes end after
// reliable.MaxDepth.
const (
	maxRounds = 100
	maxRuns   = 5000 // of entries: callbacks that each write two would make a round that never ends
)

// Outbox is what a test's transaction owes, or, of [Inline], a database. Its
// methods are called from the test's goroutine.
type Outbox struct {
	t      testing.TB
	plugin *reliable.Plugin
	tx     *gorm.DB // the test's: SQL through it finds what reliable.Transaction keeps back written
	db     *gorm.DB // the callbacks'
	pool   *sql.DB  // that the transaction is of
	inline *inline  // nil in a transaction
	q      queries
	token  int64              // of the last claim
	policy reliable.KeyPolicy // empty: no order
	told   map[int64]bool

	began time.Time     // by the computer's clock, and the Outbox's
	moved time.Duration // since, because the test said so

	crash map[string]Point // by callback: where its process is to die
}

// Drain runs what tx owes, and what that leads to, until nothing is due. Every
// callback that fails is an error of the test, with its entry; the test ends
// then. tx must be a transaction, in which the plugin is installed.
//
// An entry is tx's if tx wrote it: what was committed before is left alone, but
// in SQLite databases that are in memory or have one connection. There Drain
// takes all that it finds.
func Drain(t testing.TB, tx *gorm.DB) {
	t.Helper()
	New(t, tx).Drain()
}

// Run is [Drain] for tests in which callbacks are to fail: it returns the
// outcome of each run of an entry, in order. What failed waits for its backoff;
// see [Outbox.Advance] for how it runs again.
func Run(t testing.TB, tx *gorm.DB) []reliable.Outcome {
	t.Helper()
	return New(t, tx).Run()
}

// New returns the Outbox of a transaction. Several of one transaction have each
// a clock of their own.
func New(t testing.TB, tx *gorm.DB) *Outbox {
	t.Helper()
	o := newOutbox(t, tx)
	if !inTransaction(tx) {
		t.Fatalf("reliabletest: not in a transaction: pass the tx of db.Begin or db.Transaction, or see Inline")
	}
	o.db = o.tx.Session(&gorm.Session{NewDB: true, Context: t.Context()})
	o.db.Statement.ConnPool = newDatabase(o.db, o.pool)
	return o
}

// newOutbox returns an Outbox of a transaction or a database that callbacks
// can't use yet.
func newOutbox(t testing.TB, db *gorm.DB) *Outbox {
	t.Helper()
	plugin, err := reliable.From(db)
	if err != nil {
		t.Fatalf("reliabletest: %v", err)
	}
	pool, err := db.DB()
	if err != nil {
		t.Fatalf("reliabletest: the pool of connections: %v", err)
	}
	return &Outbox{
		t: t, plugin: plugin, pool: pool, q: newQueries(db.Name(), plugin.Tables()),
		tx:   db.Session(&gorm.Session{NewDB: true, Context: t.Context()}),
		told: make(map[int64]bool), began: time.Now().UTC().Truncate(time.Millisecond),
	}
}

func inTransaction(db *gorm.DB) bool {
	_, ok := db.Statement.ConnPool.(gorm.TxCommitter)
	return ok
}

// Drain is [Drain], by this Outbox's clock.
func (o *Outbox) Drain() {
	o.t.Helper()
	failed := false
	for _, outcome := range o.Run() {
		failed = o.tell(outcome) || failed
	}
	if failed {
		o.t.FailNow()
	}
}

// tell makes failures errors of the test. It reports whether there are some.
func (o *Outbox) tell(outcome reliable.Outcome) (failed bool) {
	o.t.Helper()
	for i := range outcome.Results {
		if r := &outcome.Results[i]; r.Err != nil {
			failed = true
			o.t.Errorf("reliabletest: %s failed: %s", attempt(outcome.Entry, r.Callback, r.Attempt), reason(r.Err))
		}
	}
	return failed
}

// Run is [Run], by this Outbox's clock.
func (o *Outbox) Run() []reliable.Outcome {
	o.t.Helper()
	var outcomes []reliable.Outcome
	err := o.inline.alone(func() error {
		return o.run(func(outcome reliable.Outcome) { outcomes = append(outcomes, outcome) })
	})
	switch {
	case errors.Is(err, errEnded):
		o.t.FailNow()
	case err != nil:
		o.t.Fatalf("reliabletest: %v", err)
	}
	return outcomes
}

// run works until nothing is due, and reports what each run of an entry came
// to. An error is the test's, or the database's.
func (o *Outbox) run(report func(reliable.Outcome)) error {
	runs := 0
	for range maxRounds {
		due, err := o.due()
		if err != nil || len(due) == 0 {
			return err
		}
		held := make(holds)
		for _, e := range due {
			if held[e.CausalityKey] {
				continue
			}
			if runs++; runs > maxRuns {
				return fmt.Errorf("after %d runs of entries there is still work due, as if callbacks fed themselves; the next is %s", maxRuns, describe(e))
			}
			outcome, died, err := o.process(e)
			if err != nil {
				return err
			}
			if died || outcome.State != reliable.StateDone && (outcome.State != reliable.StateDead || o.stops()) {
				o.hold(held, e)
			}
			if !died {
				report(outcome)
			}
		}
	}
	due, err := o.due()
	if err == nil && len(due) > 0 {
		err = fmt.Errorf("after %d rounds there is still work due, as if callbacks fed themselves; the next is %s", maxRounds, describe(due[0]))
	}
	return err
}

// attempt names a run of a callback.
func attempt(e *reliable.OutboxEntry, callback string, number int) string {
	if callback == "" { // the entry can't be read
		return fmt.Sprintf("%s: attempt %d", describe(e), number)
	}
	return fmt.Sprintf("%s: callback %s, attempt %d", describe(e), callback, number)
}

// describe names an entry.
func describe(e *reliable.OutboxEntry) string {
	if e.Context == reliable.ContextModel {
		return fmt.Sprintf("entry %d (%s, %s %s)", e.ID, e.EventName, e.ResourceClass, e.ResourceID)
	}
	return fmt.Sprintf("entry %d (%s of context %s)", e.ID, e.EventName, e.Context)
}
