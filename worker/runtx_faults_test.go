package worker_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb/proxy"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// Connections break before or after a COMMIT reached the server, so that
// nobody knows: every order is booked once for each RunTx, and no attempt is
// burnt.
func TestRunTxWithUnknownCommits(t *testing.T) {
	services := map[testdb.Dialect]testdb.Service{testdb.Postgres: testdb.PostgreSQL, testdb.MySQL: testdb.MariaDB}
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		service, remote := services[d]
		if !remote {
			return // a COMMIT on SQLite has no way to get lost on
		}
		for _, completion := range []processors.Completion{processors.Archive, processors.Delete, processors.Keep} {
			t.Run(string(completion), func(t *testing.T) {
				const orders = 20
				seed := rand.Uint64()
				dice := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // to be repeated
				t.Logf("seed %d", seed)
				r := new(reliable.Registry)
				inTx := func(_ context.Context, tx *gorm.DB, c reliable.Change[Order]) error { return book(tx, c) }
				reliable.AfterCommit(r, reliable.Callback[Order]{Name: "first", Backoff: soon, RunTx: inTx})
				reliable.AfterCommit(r, reliable.Callback[Order]{Name: "last", Backoff: soon, RunTx: inTx})
				url := testdb.New(t, d)
				near := openBooks(t, url, r)
				p := proxy.Start(t, service, url.URL)
				far := testdb.DB{Dialect: d, URL: p.URL(url.URL)}.Open(t)
				if err := far.Use(reliable.New(reliable.Config{Registry: r})); err != nil {
					t.Fatal(err)
				}
				rows := make([]Order, orders)
				if err := near.Create(&rows).Error; err != nil {
					t.Fatal(err)
				}
				cuts := 0
				fate := func() proxy.Fate {
					if fate := dice.IntN(6); fate < 2 && cuts < 30 {
						cuts++
						return []proxy.Fate{proxy.CutBefore, proxy.CutAfter}[fate]
					}
					return proxy.Pass
				}
				plugin, err := reliable.From(far)
				if err != nil {
					t.Fatal(err)
				}
				defer reliable.Subscribe(plugin.Monitor(), func(*reliable.Started) { p.OnCommit(fate) })() // a start that fails is the caller's to repeat
				stop := start(t, &worker.Worker{DB: far, Threads: 4, PollInterval: 20 * time.Millisecond, Processor: &processors.NonOrdered{Completion: completion}})
				within(t, time.Minute, "all is done", func() bool { return count(t, near, left) == 0 })
				p.OnCommit(nil)
				if err := stop(); err != nil {
					t.Error(err)
				}
				if n := count(t, near, "SELECT count(*) FROM bookings"); n != 2*orders {
					t.Errorf("%d bookings after %d cuts, want %d", n, cuts, 2*orders)
				}
				checkBookedTwice(t, near, orders)
				if n := count(t, near, "SELECT count(*) FROM outbox_history WHERE attempts > 0"); n != 0 {
					t.Errorf("%d entries burnt an attempt, want 0", n)
				}
			})
		}
	})
}

func checkBookedTwice(t *testing.T, db *gorm.DB, orders int) {
	t.Helper()
	if n := count(t, db, "SELECT count(*) FROM (SELECT order_id FROM bookings GROUP BY order_id HAVING count(*) = 2) AS twice"); n != orders {
		t.Errorf("%d orders are booked once for each callback, want %d", n, orders)
	}
}

// A RunTx whose lease is lost while it runs changes nothing, and says so; who
// holds the entry next does it.
func TestRunTxWithoutItsLease(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		var db *gorm.DB
		var runs atomic.Int64
		r := new(reliable.Registry)
		reliable.AfterCommit(r, reliable.Callback[Order]{
			Name: "book", If: func(reliable.Change[Order]) bool {
				if runs.Add(1) > 1 {
					return true
				}
				return db.Exec("DELETE FROM outbox_claims").Error == nil // as a rescuer would
			},
			RunTx: func(_ context.Context, tx *gorm.DB, c reliable.Change[Order]) error { return book(tx, c) },
		})
		after := make(chan int64, 10)
		reliable.AfterCreateCommit(r, "after", func(context.Context, reliable.Change[Order]) error { after <- runs.Load(); return nil })
		db = openBooks(t, testdb.New(t, d), r)
		plugin, err := reliable.From(db)
		if err != nil {
			t.Fatal(err)
		}
		lost := make(chan *reliable.LeaseLost, 10)
		defer reliable.Subscribe(plugin.Monitor(), func(e *reliable.LeaseLost) { lost <- e })()
		start(t, &worker.Worker{DB: db, PollInterval: 20 * time.Millisecond})
		if err := db.Create(&Order{}).Error; err != nil {
			t.Fatal(err)
		}
		<-lost
		eventually(t, "all is done", func() bool { return count(t, db, left) == 0 })
		checkBooks(t, db, 1)
		if n := <-after; n != 2 || len(after) > 0 {
			t.Errorf("the next callback ran after %d runs, want it not to run without the lease", n)
		}
		if n := count(t, db, "SELECT count(*) FROM outbox_history WHERE attempts = 0 AND crashes = 0"); n != 1 {
			t.Errorf("%d entries with nothing burnt, want 1", n)
		}
	})
}

// A RunTx that ends its transaction itself is dead at once, with the way out:
// to run it again would repeat what it committed.
func TestRunTxMustNotEndItsTransaction(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		r := new(reliable.Registry)
		reliable.AfterCommit(r, reliable.Callback[Order]{Name: "book", RunTx: func(_ context.Context, tx *gorm.DB, c reliable.Change[Order]) error {
			err := book(tx, c)
			if c.Model.Total > 0 {
				return errors.Join(err, tx.Commit().Error)
			}
			return errors.Join(err, tx.Rollback().Error)
		}})
		reliable.AfterCreateCommit(r, "count", func(context.Context, reliable.Change[Booking]) error { return nil })
		db := openBooks(t, testdb.New(t, d), r)
		start(t, &worker.Worker{DB: db, PollInterval: 20 * time.Millisecond})
		if err := db.Create(&[]Order{{Total: 0}, {Total: 1}}).Error; err != nil {
			t.Fatal(err)
		}
		eventually(t, "both are dead", func() bool {
			return count(t, db, "SELECT count(*) FROM outbox_entries WHERE dead_at IS NOT NULL AND attempts = 1") == 2
		})
		var messages []string
		if err := db.Raw("SELECT error_message FROM outbox_entries ORDER BY id").Scan(&messages).Error; err != nil {
			t.Fatal(err)
		}
		for _, message := range messages {
			if !strings.Contains(message, "RunTx ended its transaction itself: return nil to commit it, an error to roll it back") || !strings.Contains(message, "1 changes are not recorded") {
				t.Errorf("the entry says %q, want what to do and what is not recorded", message)
			}
		}
	})
}

// Middleware surrounds the whole transaction; what is committed stays done,
// whatever it returns, and its error is told.
func TestRunTxMiddleware(t *testing.T) {
	var mu sync.Mutex
	var steps []string
	step := func(s string) { mu.Lock(); steps = append(steps, s); mu.Unlock() }
	var db *gorm.DB
	r := new(reliable.Registry)
	r.Use(func(ctx context.Context, a reliable.Attempt, next func(context.Context) error) error {
		step("begin " + a.Callback)
		if err := next(ctx); err != nil {
			return err
		}
		step("end")
		checkBooks(t, db, 1)
		return errors.New("too late")
	})
	reliable.AfterCommit(r, reliable.Callback[Order]{
		Name: "book", Aliases: []string{"enter"},
		RunTx: func(_ context.Context, tx *gorm.DB, c reliable.Change[Order]) error { step("run"); return book(tx, c) },
	})
	db = openBooks(t, testdb.New(t, testdb.SQLite), r)
	plugin, err := reliable.From(db)
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan error, 1)
	defer reliable.Subscribe(plugin.Monitor(), func(e *reliable.ErrorOccurred) { told <- e.Err })()
	if err := db.Create(&Order{}).Error; err != nil {
		t.Fatal(err)
	}
	if err := db.Exec(`UPDATE outbox_entries SET owed = '["enter"]', kind = 0`).Error; err != nil { // of a release before the renaming
		t.Fatal(err)
	}
	start(t, &worker.Worker{DB: db, PollInterval: 20 * time.Millisecond})
	if err := <-told; err == nil || err.Error() != "too late" {
		t.Errorf("ErrorOccurred with %v, want the middleware's error", err)
	}
	eventually(t, "all is done", func() bool { return count(t, db, left) == 0 })
	checkBooks(t, db, 1)
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Join(steps, ", "); got != "begin enter, run, end" {
		t.Errorf("steps: %s", got)
	}
}

// RunTx gets along with a statement cache, without GORM's own transactions,
// with keys that are locked at capture, and with fewer connections than threads.
func TestRunTxOnANarrowPool(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		const orders = 40
		r := new(reliable.Registry)
		reliable.AfterCommit(r, reliable.Callback[Order]{Name: "book", Backoff: soon, RunTx: func(_ context.Context, tx *gorm.DB, c reliable.Change[Order]) error {
			return tx.Transaction(func(tx *gorm.DB) error { return book(tx, c) }) // a savepoint
		}})
		reliable.AfterCommit(r, reliable.Callback[Booking]{Name: "look", RunTx: func(_ context.Context, tx *gorm.DB, c reliable.Change[Booking]) error {
			return tx.First(&Order{}, c.Model.OrderID).Error
		}})
		reliable.Register(r, reliable.Model[Booking]{StrictOrder: true, CausalityKey: func(*Booking) string { return "till" }})
		url := testdb.New(t, d)
		db := url.Open(t, &gorm.Config{PrepareStmt: true, SkipDefaultTransaction: true, Logger: logger.Discard})
		if err := errors.Join(db.AutoMigrate(&Order{}, &Booking{}), db.Use(reliable.New(reliable.Config{Registry: r})), migrations.Up(t.Context(), db)); err != nil {
			t.Fatal(err)
		}
		if pool, err := db.DB(); err != nil {
			t.Fatal(err)
		} else if d != testdb.SQLite { // there the worker's own connections are of this pool, too
			pool.SetMaxOpenConns(2)
		}
		start(t, &worker.Worker{DB: db, Threads: 8, PollInterval: 20 * time.Millisecond})
		rows := make([]Order, orders)
		if err := db.Create(&rows).Error; err != nil {
			t.Fatal(err)
		}
		near := url.Open(t)
		within(t, time.Minute, "all is done", func() bool { return count(t, near, left) == 0 })
		checkBooks(t, near, orders)
		if n := count(t, near, "SELECT count(*) FROM outbox_history"); n != 2*orders {
			t.Errorf("history has %d entries, want %d", n, 2*orders)
		}
	})
}
