package reliabletest

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"testing"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// inline is what an Outbox of [Inline] has besides.
type inline struct {
	report func(reliable.Outcome)

	mu      sync.Mutex
	idle    *sync.Cond
	running bool
	again   bool // something was committed since
}

// Inline returns db, for the code under test, so that each commit through it
// runs what is owed then, before Commit returns: for tests of handlers that
// commit. What callbacks commit runs too. A callback that fails is an error of
// the test, but report, if it is not nil, gets each outcome instead. The Outbox
// has the clock, and what waits.
//
// It works all of the database's outbox: each test needs a database of its own,
// and no worker. What is committed while callbacks run, by them or by another
// goroutine, runs when those have ended, perhaps after its own Commit returned.
func Inline(t testing.TB, db *gorm.DB, report func(reliable.Outcome)) (*gorm.DB, *Outbox) {
	t.Helper()
	o := newOutbox(t, db)
	if inTransaction(db) {
		t.Fatalf("reliabletest: Inline: in a transaction, which nobody commits: use Drain")
	}
	o.inline = &inline{report: report}
	o.inline.idle = sync.NewCond(&o.inline.mu)
	if report == nil {
		o.inline.report = func(outcome reliable.Outcome) { o.tell(outcome) }
	}
	o.db = db.Session(&gorm.Session{NewDB: true, Context: db.Statement.Context})
	o.db.Statement.ConnPool = &commits{ConnPool: o.pool, pool: o.pool, committed: o.committed}
	o.db.ConnPool = o.db.Statement.ConnPool // for sessions that prepare statements
	o.tx = o.db.Session(&gorm.Session{NewDB: true, Context: t.Context()})
	return o.db, o
}

// alone works when nobody else does. Without an inline nobody can.
func (i *inline) alone(f func() error) error {
	if i == nil {
		return f()
	}
	i.mu.Lock()
	for i.running {
		i.idle.Wait()
	}
	i.running = true
	i.mu.Unlock()
	return i.work(f)
}

// begin reports whether the caller is to work: nobody does.
func (i *inline) begin() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.running {
		i.again = true
		return false
	}
	i.running = true
	return true
}

// work calls f until nothing was committed meanwhile. Then others may work, and
// also if f ends the goroutine.
func (i *inline) work(f func() error) (err error) {
	returned := false
	defer func() {
		for !returned && i.goOn() {
		}
	}()
	for more := true; more; more = i.goOn() {
		err = errors.Join(err, f())
	}
	returned = true
	return err
}

// goOn reports whether something was committed since it was asked last. If not,
// others may work.
func (i *inline) goOn() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.again {
		i.again = false
		return true
	}
	i.running = false
	i.idle.Broadcast()
	return false
}

// committed runs what is owed after a commit. It may be called by any goroutine,
// which must not be ended: it is the code under test.
func (o *Outbox) committed() {
	if o.t.Context().Err() != nil || !o.inline.begin() { // the test is over
		return
	}
	err := o.inline.work(func() error { return o.run(o.inline.report) })
	if err != nil && !errors.Is(err, errEnded) {
		o.t.Errorf("reliabletest: %v", err)
	}
}

// commits is a pool that tells of each commit.
type commits struct {
	gorm.ConnPool
	pool      *sql.DB
	committed func()
}

var (
	_ gorm.ConnPoolBeginner = (*commits)(nil)
	_ gorm.GetDBConnector   = (*commits)(nil)
)

// BeginTx implements [gorm.ConnPoolBeginner].
func (c *commits) BeginTx(ctx context.Context, opts *sql.TxOptions) (gorm.ConnPool, error) {
	tx, err := c.pool.BeginTx(ctx, opts)
	if err != nil {
		return nil, err
	}
	return &committer{Tx: tx, of: c}, nil
}

// GetDBConn implements [gorm.GetDBConnector].
func (c *commits) GetDBConn() (*sql.DB, error) { return c.pool, nil }

// committer is a transaction that tells of its commit.
type committer struct {
	*sql.Tx
	of *commits
}

var _ gorm.Tx = (*committer)(nil)

// Commit implements [gorm.TxCommitter].
func (c *committer) Commit() error {
	err := c.Tx.Commit()
	if err == nil {
		c.of.committed()
	}
	return err
}

// GetDBConn implements [gorm.GetDBConnector].
func (c *committer) GetDBConn() (*sql.DB, error) { return c.of.pool, nil }
