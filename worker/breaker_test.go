package worker_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// downstream is what callbacks call; it is down at first.
type downstream struct {
	burnt sync.Map     // failed calls by order
	wrong atomic.Int64 // calls whose number is not that of the failed ones, and one
	up    atomic.Bool
	calls atomic.Int64
	bad   atomic.Int64 // calls that failed
}

func (d *downstream) call(_ context.Context, c reliable.Change[Order]) error {
	d.calls.Add(1)
	burnt, _ := d.burnt.LoadOrStore(c.Model.ID, new(atomic.Int64))
	failed := burnt.(*atomic.Int64)
	if int64(c.Attempt) != failed.Load()+1 {
		d.wrong.Add(1)
	}
	if d.up.Load() {
		return nil
	}
	failed.Add(1)
	d.bad.Add(1)
	return errors.New("connection refused")
}

// quick is a breaker for tests.
func quick() *reliable.Breaker {
	return &reliable.Breaker{MinAttempts: 5, CoolDown: 200 * time.Millisecond, MaxCoolDown: 200 * time.Millisecond, SlowStart: 500 * time.Millisecond}
}

// opened returns how often breakers opened, and closed.
func opened(t *testing.T, db *gorm.DB) (opens, closes *atomic.Int64) {
	t.Helper()
	plugin, err := reliable.From(db)
	if err != nil {
		t.Fatal(err)
	}
	opens, closes = new(atomic.Int64), new(atomic.Int64)
	t.Cleanup(reliable.Subscribe(plugin.Monitor(), func(e *reliable.BreakerOpened) {
		if n := opens.Add(1); int64(e.Trip) != n || e.Callback != "mail" || e.ResourceClass != "Order" || e.Context != "gorm" || e.Err == nil || e.Rest <= 0 || e.Failed < 1 || e.Failed > e.Attempts {
			t.Errorf("opening %d is told as %+v", n, e)
		}
	}))
	t.Cleanup(reliable.Subscribe(plugin.Monitor(), func(e *reliable.BreakerClosed) {
		if closes.Add(1); e.Callback != "mail" || e.Took <= 0 {
			t.Errorf("BreakerClosed = %+v", e)
		}
	}))
	return opens, closes
}

// While what a callback calls is down, it is called a few times only, burns no
// more attempts, and what waits is not written. Once it is up, all is done.
func TestBreakerRests(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		const orders = 300
		var mail downstream
		r := new(reliable.Registry)
		reliable.AfterCommit(r, reliable.Callback[Order]{Name: "mail", Backoff: soon, Breaker: quick(), Run: mail.call})
		db := open(t, testdb.New(t, d), r)
		opens, closes := opened(t, db)
		if err := db.Create(make([]Order, orders)).Error; err != nil {
			t.Fatal(err)
		}
		stop := start(t, &worker.Worker{DB: db, Threads: 2, BatchSize: 20, PollInterval: 20 * time.Millisecond})
		eventually(t, "four rests", func() bool { return opens.Load() >= 4 })
		// Five failures and what ran beside the last of them; then three probes per rest.
		if n, most := mail.calls.Load(), 5+1+3*opens.Load(); n > most {
			t.Errorf("%d calls in %d rests, want at most %d", n, opens.Load(), most)
		}
		if n := count(t, db, "SELECT count(*) FROM outbox_entries WHERE retry_at IS NULL AND callbacks IS NULL"); n < orders/2 {
			t.Errorf("%d of %d entries are as they were captured, want most", n, orders)
		}
		mail.up.Store(true)
		eventually(t, "all is done", func() bool { return count(t, db, "SELECT count(*) FROM outbox_history") == orders })
		if err := stop(); err != nil {
			t.Error(err)
		}
		if n, bad := count(t, db, "SELECT sum(attempts) FROM outbox_history"), mail.bad.Load(); int64(n) != bad {
			t.Errorf("%d failed attempts, %d calls failed, want as many", n, bad)
		}
		if n := mail.wrong.Load(); n != 0 {
			t.Errorf("%d calls are numbered as if an attempt was burnt without a call", n)
		}
		if n, bad := mail.calls.Load(), mail.bad.Load(); n != orders+bad || closes.Load() != 1 {
			t.Errorf("%d calls, of which %d failed; it closed %d times; want one good call per order, and one", n, bad, closes.Load())
		}
	})
}

// A callback that rests holds up no sibling. Entries that owe only it are left
// where they are, and written once.
func TestBreakerLetsSiblingsRun(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		const orders = 200
		var mail, index downstream
		index.up.Store(true)
		r := new(reliable.Registry)
		reliable.AfterCommit(r, reliable.Callback[Order]{Name: "mail", Backoff: soon, Breaker: quick(), Run: mail.call})
		reliable.AfterCommit(r, reliable.Callback[Order]{Name: "index", Run: index.call})
		db := open(t, testdb.New(t, d), r)
		opens, _ := opened(t, db)
		if err := db.Create(make([]Order, orders)).Error; err != nil {
			t.Fatal(err)
		}
		start(t, &worker.Worker{DB: db, Threads: 2, BatchSize: 20, PollInterval: 20 * time.Millisecond})
		eventually(t, "each order is indexed, and waits for its mail", func() bool {
			return index.calls.Load() == orders && count(t, db, "SELECT count(*) FROM outbox_entries WHERE callbacks IS NOT NULL") == orders
		})
		before, rests := versions(t, db), opens.Load()
		eventually(t, "three more rests", func() bool { return opens.Load() >= rests+3 })
		written := 0
		for id, at := range versions(t, db) {
			if at != before[id] {
				written++
			}
		}
		if most := 6 * int(opens.Load()-rests+1); written > most {
			t.Errorf("%d of %d entries were written in %d rests, want at most %d", written, orders, opens.Load()-rests, most)
		}
		mail.up.Store(true)
		eventually(t, "all is done", func() bool { return count(t, db, "SELECT count(*) FROM outbox_history") == orders })
		if n := index.calls.Load(); n != orders {
			t.Errorf("the index was called %d times, want %d", n, orders)
		}
	})
}

// versions returns when each entry was written last.
func versions(t *testing.T, db *gorm.DB) map[int64]string {
	t.Helper()
	var rows []struct {
		ID int64
		At string
	}
	if err := db.Raw("SELECT id, CAST(updated_at AS char(40)) AS at FROM outbox_entries").Scan(&rows).Error; err != nil {
		t.Fatal(err)
	}
	found := make(map[int64]string, len(rows))
	for _, r := range rows {
		found[r.ID] = r.At
	}
	return found
}

// Breakers can be off: for one callback, for all, for a worker.
func TestBreakerOff(t *testing.T) {
	off := reliable.Breaker{Off: true}
	tests := map[string]struct {
		config, callback *reliable.Breaker
		worker           bool
	}{"callback": {callback: &off}, "config": {config: &off}, "worker": {worker: true}}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var mail downstream
			r := new(reliable.Registry)
			reliable.AfterCommit(r, reliable.Callback[Order]{Name: "mail", MaxAttempts: 3, Backoff: soon, Breaker: test.callback, Run: mail.call})
			db := openWith(t, testdb.New(t, testdb.SQLite), reliable.Config{Registry: r, Breaker: test.config})
			if err := db.Create(make([]Order, 40)).Error; err != nil {
				t.Fatal(err)
			}
			start(t, &worker.Worker{DB: db, PollInterval: 20 * time.Millisecond, NoBreaker: test.worker})
			eventually(t, "all are dead", func() bool {
				return count(t, db, "SELECT count(*) FROM outbox_entries WHERE dead_at IS NOT NULL") == 40
			})
			if n := mail.calls.Load(); n != 120 {
				t.Errorf("%d calls, want 120", n)
			}
		})
	}
}
