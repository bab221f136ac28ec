package worker_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// clock is a PostgreSQL whose time differs from that of its workers.
type clock struct {
	testdb.DB
	own *gorm.DB
}

// newClock makes a database whose functions of time are its own: they stand in
// its schema, before the server's.
func newClock(t *testing.T) clock {
	t.Helper()
	d := testdb.New(t, testdb.Postgres)
	c := clock{d, d.Open(t)}
	address, err := url.Parse(d.URL)
	if err != nil {
		t.Fatal(err)
	}
	query := address.Query()
	query.Set("search_path", query.Get("search_path")+",pg_catalog")
	address.RawQuery = query.Encode()
	c.URL = address.String()
	c.set(t, 0)
	return c
}

// set lets the database's time be that of its host and by more.
func (c clock) set(t *testing.T, by time.Duration) {
	t.Helper()
	for _, name := range []string{"now", "clock_timestamp", "statement_timestamp", "transaction_timestamp"} {
		err := c.own.Exec(fmt.Sprintf(`CREATE OR REPLACE FUNCTION %s() RETURNS timestamptz LANGUAGE sql VOLATILE AS
			'SELECT pg_catalog.%[1]s() + %d * interval ''1 microsecond'''`, name, by.Microseconds())).Error
		if err != nil {
			t.Fatal(err)
		}
	}
}

// The clocks of workers may be wrong by a day: leases and retries go by the
// database's (27).
func TestClocksApart(t *testing.T) {
	for _, by := range []time.Duration{time.Hour, -time.Hour, 24 * time.Hour, -24 * time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			t.Parallel()
			c := newClock(t)
			c.set(t, by)
			l, db := c.work(t, 5*time.Second)
			before := c.workers(t)
			c.order(t, db, 40)
			beats := events[*reliable.HeartbeatSent](t, db, nil)
			eventually(t, "six heartbeats", func() bool { return beats.Load() >= 6 })
			if now := c.workers(t); now != before {
				t.Errorf("the workers were %s, now %s: they took each other for dead", before, now)
			}
			for id := 1; id <= 40; id++ {
				if n := l.of(fmt.Sprint("flaky create ", id)); n != 2 {
					t.Errorf("the callback of order %d ran %d times, want 2", id, n)
				}
			}
		})
	}
}

// The database's clock may jump: leases seem over, or last longer, but nothing
// is lost (28).
func TestClockJumps(t *testing.T) {
	for _, by := range []time.Duration{10 * time.Minute, -10 * time.Minute} {
		t.Run(by.String(), func(t *testing.T) {
			t.Parallel()
			c := newClock(t)
			_, db := c.work(t, time.Second)
			c.order(t, db, 20)
			c.set(t, by)
			c.order(t, db, 20)
			c.set(t, 0)
			c.order(t, db, 20)
			if n := count(t, db, "SELECT count(*) FROM outbox_history"); n != 60 {
				t.Errorf("%d entries are done, want 60", n)
			}
		})
	}
}

// work starts two workers.
func (c clock) work(t *testing.T, lease time.Duration) (*ledger, *gorm.DB) {
	t.Helper()
	l, r := new(ledger), new(reliable.Registry)
	reliable.AfterCommit(r, reliable.Callback[Order]{Name: "flaky", On: reliable.OpCreate, Backoff: soon, Run: func(_ context.Context, c reliable.Change[Order]) error {
		if l.add(c, "flaky") == 1 {
			return errors.New("the first time")
		}
		return nil
	}})
	db := open(t, c.DB, r)
	for range 2 {
		start(t, &worker.Worker{DB: db, Threads: 2, PollInterval: 5 * time.Millisecond, NoBreaker: true, Processor: &processors.NonOrdered{LeaseTTL: lease}})
	}
	eventually(t, "both are registered", func() bool { return count(t, db, "SELECT count(*) FROM outbox_workers") == 2 })
	return l, db
}

// order makes n orders and waits until all is done.
func (c clock) order(t *testing.T, db *gorm.DB, n int) {
	t.Helper()
	for range n {
		if err := db.Create(&Order{}).Error; err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all is done", func() bool { return count(t, db, left) == 0 })
}

// workers returns the ids of the workers.
func (c clock) workers(t *testing.T) (ids string) {
	t.Helper()
	if err := c.own.Raw("SELECT string_agg(id, ' ' ORDER BY id) FROM outbox_workers").Scan(&ids).Error; err != nil {
		t.Fatal(err)
	}
	return ids
}
