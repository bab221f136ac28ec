package worker_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb/proxy"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// servers runs f for the databases that are reached by a network.
func servers(t *testing.T, f func(t *testing.T, d testdb.Dialect, s testdb.Service)) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		switch d {
		case testdb.Postgres:
			t.Parallel()
			f(t, d, testdb.PostgreSQL)
		case testdb.MySQL:
			t.Parallel()
			f(t, d, testdb.MariaDB)
		default:
		}
	})
}

// events counts what a worker tells of.
func events[E reliable.Event](t *testing.T, db *gorm.DB, is func(E) bool) *atomic.Int64 {
	t.Helper()
	plugin, err := reliable.From(db)
	if err != nil {
		t.Fatal(err)
	}
	n := new(atomic.Int64)
	t.Cleanup(reliable.Subscribe(plugin.Monitor(), func(e E) {
		if is == nil || is(e) {
			n.Add(1)
		}
	}))
	return n
}

// idle waits until no entry is left.
func idle(t *testing.T, limit time.Duration, db *gorm.DB) {
	t.Helper()
	within(t, limit, "no entry left", func() bool { return count(t, db, "SELECT count(*) FROM outbox_entries") == 0 })
}

// The database is away for longer than the lease: what the worker held is given
// back and run again, by this very worker, without a blame.
func TestOutageLongerThanTheLease(t *testing.T) {
	servers(t, func(t *testing.T, d testdb.Dialect, s testdb.Service) {
		var runs atomic.Int64
		begun := make(chan struct{}, 100)
		r := new(reliable.Registry)
		reliable.AfterCreateCommit(r, "slow", func(ctx context.Context, _ reliable.Change[Order]) error {
			if runs.Add(1) > 1 {
				return nil
			}
			begun <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		})
		url := testdb.New(t, d)
		p := proxy.Start(t, s, url.URL)
		near, db := open(t, url, r), open(t, testdb.DB{Dialect: d, URL: p.URL(url.URL)}, r)
		if err := near.Create(orders(5)).Error; err != nil {
			t.Fatal(err)
		}
		refused := events(t, db, func(e *reliable.ErrorOccurred) bool { return e.Step == "register" })
		rescued := events[*reliable.EntriesRescued](t, db, nil)
		stop := start(t, &worker.Worker{DB: db, PollInterval: 20 * time.Millisecond, Processor: &processors.NonOrdered{LeaseTTL: time.Second}})
		eventually(t, "a callback runs", func() bool { return len(begun) > 0 })
		p.Down()
		eventually(t, "the lease is lost, and can't be taken anew", func() bool { return refused.Load() > 0 })
		p.Up()
		idle(t, time.Minute, near)
		if err := stop(); err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
		if n := count(t, near, "SELECT count(*) FROM outbox_history WHERE crashes > 0 OR attempts > 0"); n != 0 {
			t.Errorf("%d entries were blamed, want 0", n)
		}
		if n := rescued.Load(); n != 0 {
			t.Errorf("its entries were rescued %d times, as those of a dead worker, want 0: it lives", n)
		}
	})
}

// others lists, and ends, the connections to a database but for some.
type others struct{ list, end string }

func othersOf(d testdb.Dialect) others {
	if d == testdb.Postgres {
		return others{
			"SELECT pid FROM pg_stat_activity WHERE application_name = current_setting('application_name') AND pid <> pg_backend_pid()",
			"SELECT pg_terminate_backend(?)",
		}
	}
	return others{"SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> connection_id()", "KILL ?"}
}

// Callbacks hold every connection of the pool, and the worker's own are ended:
// it goes on, and keeps its lease.
func TestCallbacksHoldTheWholePool(t *testing.T) {
	servers(t, func(t *testing.T, d testdb.Dialect, _ testdb.Service) {
		var db *gorm.DB
		held, release := make(chan int64, 2), make(chan struct{})
		r := new(reliable.Registry)
		reliable.AfterCreateCommit(r, "holds", func(context.Context, reliable.Change[Order]) error {
			return db.Connection(func(tx *gorm.DB) error {
				var id int64
				query := "SELECT connection_id()"
				if d == testdb.Postgres {
					query = "SELECT pg_backend_pid()"
				}
				err := tx.Raw(query).Scan(&id).Error
				held <- id
				<-release
				return err
			})
		})
		url := testdb.New(t, d)
		url = named(url, "whole_pool")
		near := open(t, url, r)
		if err := near.Create(orders(2)).Error; err != nil {
			t.Fatal(err)
		}
		db = open(t, url, r)
		pool, err := db.DB()
		if err != nil {
			t.Fatal(err)
		}
		pool.SetMaxOpenConns(2)
		beats, lost := events[*reliable.HeartbeatSent](t, db, nil), events[*reliable.LeaseLost](t, db, nil)
		start(t, &worker.Worker{DB: db, Threads: 2, PollInterval: 20 * time.Millisecond, Processor: &processors.NonOrdered{LeaseTTL: 2 * time.Second}})
		callbacks := map[int64]bool{<-held: true, <-held: true}
		var ids []int64
		if err := near.Raw(othersOf(d).list).Scan(&ids).Error; err != nil {
			t.Fatal(err)
		}
		ended := 0
		for _, id := range ids {
			if !callbacks[id] && near.Exec(othersOf(d).end, id).Error == nil {
				ended++
			}
		}
		if ended < 3 {
			t.Fatalf("%d connections were ended, want those that claim, finish and renew the lease: the test shows nothing", ended)
		}
		before := beats.Load()
		eventually(t, "two heartbeats", func() bool { return beats.Load() >= before+2 })
		close(release)
		idle(t, time.Minute, near)
		if n := lost.Load(); n != 0 {
			t.Errorf("the lease was lost %d times, want 0", n)
		}
	})
}

// Every connection breaks without a word: every wait of the worker's ends, and
// a new one comes in time to keep the lease.
func TestHalfOpenConnections(t *testing.T) {
	servers(t, func(t *testing.T, d testdb.Dialect, s testdb.Service) {
		near, db, p := behind(t, d, s)
		start(t, &worker.Worker{DB: db, PollInterval: 20 * time.Millisecond, Processor: &processors.NonOrdered{LeaseTTL: 30 * time.Second}})
		worked(t, near, 1)
		const same = "SELECT id FROM outbox_workers" // of a lease that was lost it is never used again
		var before, after string
		err := near.Raw(same).Scan(&before).Error
		p.Freeze()
		worked(t, near, 5)
		if err := errors.Join(err, near.Raw(same).Scan(&after).Error); err != nil || before == "" || after != before {
			t.Errorf("the lease of %q was lost, and that of %q taken, %v; want the same", before, after, err)
		}
	})
}

// The same in the middle of a COMMIT, for which the driver of MariaDB has no
// deadline, on connections that are not the worker's to open.
func TestHalfOpenCommits(t *testing.T) {
	servers(t, func(t *testing.T, d testdb.Dialect, s testdb.Service) {
		near, db, p := behind(t, d, s)
		start(t, &worker.Worker{DB: given(t, db), PollInterval: 20 * time.Millisecond})
		worked(t, near, 1)
		var stalls atomic.Int64
		p.OnCommit(func() proxy.Fate {
			if stalls.Add(1) <= processors.OwnSessions {
				return proxy.Stall
			}
			return proxy.Pass
		})
		worked(t, near, 5)
	})
}

// behind returns a database with the plugin, and the same behind a proxy.
func behind(t *testing.T, d testdb.Dialect, s testdb.Service) (near, far *gorm.DB, p *proxy.Proxy) {
	t.Helper()
	r := new(reliable.Registry)
	reliable.AfterCreateCommit(r, "x", func(context.Context, reliable.Change[Order]) error { return nil })
	url := testdb.New(t, d)
	p = proxy.Start(t, s, url.URL)
	return open(t, url, r), open(t, testdb.DB{Dialect: d, URL: p.URL(url.URL)}, r), p
}

// worked creates n orders and waits until nothing is left to do.
func worked(t *testing.T, db *gorm.DB, n int) {
	t.Helper()
	if err := db.Create(orders(n)).Error; err != nil {
		t.Fatal(err)
	}
	idle(t, 3*time.Minute, db)
}

// given returns a handle that was made with db's connections instead of an
// address, so that the worker must share them.
func given(t *testing.T, db *gorm.DB) *gorm.DB {
	t.Helper()
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	dialector := postgres.New(postgres.Config{Conn: pool})
	if db.Name() == "mysql" {
		dialector = mysql.New(mysql.Config{Conn: pool})
	}
	same, err := gorm.Open(dialector, &gorm.Config{Logger: db.Logger})
	if err != nil {
		t.Fatal(err)
	}
	plugin, err := reliable.From(db)
	if err != nil {
		t.Fatal(err)
	}
	if err := same.Use(reliable.New(reliable.Config{Registry: plugin.Registry()})); err != nil {
		t.Fatal(err)
	}
	return same
}

// A pool that is smaller than what is to share it is told at the start; one
// that is smaller than THREADS is no hindrance.
func TestSmallPools(t *testing.T) {
	servers(t, func(t *testing.T, d testdb.Dialect, _ testdb.Service) {
		r := new(reliable.Registry)
		reliable.AfterCreateCommit(r, "reads", func(_ context.Context, c reliable.Change[Order]) error {
			return c.DB().First(&Order{}, c.Model.ID).Error
		})
		url := testdb.New(t, d)
		db := open(t, url, r)
		pool, err := db.DB()
		small, err2 := url.Open(t).DB()
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		pool.SetMaxOpenConns(worker.OwnConnections)
		small.SetMaxOpenConns(worker.OwnConnections - 1)
		for name, w := range map[string]*worker.Worker{"DB's pool": {DB: given(t, db)}, "Own": {DB: db, Own: small}} {
			if err := w.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "worker: "+name+" has at most") {
				t.Errorf("%s: Run() = %v, want that it is too small", name, err)
			}
		}
		pool.SetMaxOpenConns(1)
		start(t, &worker.Worker{DB: db, Threads: 8, PollInterval: 20 * time.Millisecond})
		if err := db.Create(orders(50)).Error; err != nil {
			t.Fatal(err)
		}
		idle(t, time.Minute, db)
	})
}

// orders returns new orders.
func orders(n int) *[]Order {
	rows := make([]Order, n)
	return &rows
}
