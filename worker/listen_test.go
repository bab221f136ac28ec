package worker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb/proxy"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// elsewhere is a database in which one process writes and another works: each
// has a handle and a plugin of its own.
type elsewhere struct {
	writer, worker     *gorm.DB
	name               string // of the worker's connections
	degraded, restored interface{ Load() int64 }
}

// asleep starts a worker that does not poll, and waits until it listens.
func asleep(t *testing.T, url, far testdb.DB, w *worker.Worker) *elsewhere {
	t.Helper()
	registry := func() *reliable.Registry {
		r := new(reliable.Registry)
		reliable.AfterCommit(r, reliable.Callback[Order]{Name: "x", Run: func(context.Context, reliable.Change[Order]) error { return nil }})
		r.Handle("job", "x", reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error { return nil }))
		return r
	}
	e := &elsewhere{name: "listens"}
	e.writer, e.worker = open(t, url, registry()), open(t, named(far, e.name), registry())
	e.degraded, e.restored = events[*reliable.WakeupDegraded](t, e.worker, nil), events[*reliable.WakeupRestored](t, e.worker, nil)
	w.DB, w.PollInterval = e.worker, time.Hour
	start(t, w)
	eventually(t, "the worker listens", func() bool { return e.listening(t) == 1 })
	worked(t, e.writer, 1) // heard of it, or looked for what came before its test of LISTEN was over
	return e
}

// listening counts the worker's connections that listen.
func (e *elsewhere) listening(t *testing.T) int {
	t.Helper()
	return count(t, e.writer, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND application_name = '"+e.name+"' AND datname = current_database()")
}

// A commit in another process wakes a worker that does not poll, however the
// transaction was made.
func TestCommitsElsewhereWake(t *testing.T) {
	url := testdb.New(t, testdb.Postgres)
	e := asleep(t, url, url, new(worker.Worker))
	record := func(tx *gorm.DB) error {
		_, err := reliable.Record(t.Context(), tx, reliable.Entry{Context: "job", EventName: "due"})
		return err
	}
	for name, write := range map[string]func() error{
		"one statement": func() error { return e.writer.Create(&Order{}).Error },
		"a transaction": func() error {
			return e.writer.Transaction(func(tx *gorm.DB) error { return tx.Create(&Order{}).Error })
		},
		"Record":               func() error { return e.writer.Transaction(record) },
		"reliable.Transaction": func() error { return reliable.Transaction(e.writer, record) },
		"Begin and Commit": func() error {
			tx := e.writer.Begin()
			return errors.Join(tx.Create(&Order{}).Error, tx.Commit().Error)
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := write(); err != nil {
				t.Fatal(err)
			}
			idle(t, 10*time.Second, e.writer)
		})
	}
	if n := e.degraded.Load(); n != 0 {
		t.Errorf("%d times degraded, want 0", n)
	}
}

// A worker whose LISTEN is ended listens again, and has not missed what was
// committed meanwhile.
func TestListensAgain(t *testing.T) {
	url := testdb.New(t, testdb.Postgres)
	e := asleep(t, url, url, new(worker.Worker))
	for range 3 {
		before := e.restored.Load()
		err := reliable.Transaction(e.writer, func(tx *gorm.DB) error { // told once, when nobody listens any more
			end := "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND application_name = ?"
			return errors.Join(tx.Exec(end, e.name).Error, tx.Create(&Order{}).Error)
		})
		if err != nil {
			t.Fatal(err)
		}
		idle(t, 10*time.Second, e.writer)
		eventually(t, "the worker is woken again", func() bool { return e.restored.Load() > before })
	}
	if d, r := e.degraded.Load(), e.restored.Load(); d != 3 || r != 3 {
		t.Errorf("%d times degraded, %d restored, want 3 and 3", d, r)
	}
}

// A connection that broke without a word is noticed, though nobody writes.
func TestListenIsTested(t *testing.T) {
	url := testdb.New(t, testdb.Postgres)
	p := proxy.Start(t, testdb.PostgreSQL, url.URL)
	e := asleep(t, url, testdb.DB{Dialect: url.Dialect, URL: p.URL(url.URL)}, new(worker.Worker))
	pool, err := e.worker.DB()
	if err != nil {
		t.Fatal(err)
	}
	pool.SetMaxIdleConns(0) // not of interest here: what callbacks have
	before := e.degraded.Load()
	p.Freeze()
	within(t, time.Minute, "the worker is woken again", func() bool {
		return e.degraded.Load() > before && e.restored.Load() == e.degraded.Load()
	})
	if err := e.writer.Create(&Order{}).Error; err != nil {
		t.Fatal(err)
	}
	idle(t, 30*time.Second, e.writer)
}

// Where there is nothing to listen by, or nobody wants to, the worker polls.
func TestPollIsTheFloor(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		r := new(reliable.Registry)
		reliable.AfterCreateCommit(r, "x", func(context.Context, reliable.Change[Order]) error { return nil })
		url := testdb.New(t, d)
		writer, db := open(t, url, r), open(t, named(url, "polls"), r)
		degraded := events[*reliable.WakeupDegraded](t, db, nil)
		start(t, &worker.Worker{DB: db, PollInterval: 50 * time.Millisecond, NoListen: true})
		for range 3 {
			if err := writer.Create(&Order{}).Error; err != nil {
				t.Fatal(err)
			}
			idle(t, 10*time.Second, writer)
		}
		if n := degraded.Load(); n != 0 {
			t.Errorf("%d times degraded, want 0", n)
		}
		if d == testdb.Postgres {
			if n := count(t, writer, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND application_name = 'polls'"); n != 0 {
				t.Errorf("%d connections listen, want 0", n)
			}
		}
	})
}
