package worker_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// Booking is what the RunTx of these tests writes for an order.
type Booking struct {
	ID      uint
	OrderID uint
}

// book writes an order's booking.
func book(tx *gorm.DB, c reliable.Change[Order]) error {
	return tx.Create(&Booking{OrderID: c.Model.ID}).Error
}

// openBooks is open with the bookings' table.
func openBooks(t *testing.T, url testdb.DB, r *reliable.Registry) *gorm.DB {
	t.Helper()
	db := open(t, url, r)
	if err := db.AutoMigrate(&Booking{}); err != nil {
		t.Fatal(err)
	}
	return db
}

// checkBooks holds that every order has one booking, and that nothing is left.
func checkBooks(t *testing.T, db *gorm.DB, orders int) {
	t.Helper()
	bookings, booked := count(t, db, "SELECT count(*) FROM bookings"), count(t, db, "SELECT count(DISTINCT order_id) FROM bookings")
	if bookings != orders || booked != orders {
		t.Errorf("%d bookings of %d orders, want %d of %d", bookings, booked, orders, orders)
	}
}

// left counts the entries that are not done.
const left = "SELECT count(*) FROM outbox_entries WHERE processed_at IS NULL"

// What RunTx writes is there exactly once, however its entries are completed;
// what it captures runs in turn.
func TestRunTx(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		for _, completion := range []processors.Completion{processors.Archive, processors.Delete, processors.Keep} {
			t.Run(string(completion), func(t *testing.T) {
				const orders = 30
				r := new(reliable.Registry)
				reliable.AfterCommit(r, reliable.Callback[Order]{
					Name: "book", Backoff: soon, On: reliable.OpCreate, If: func(c reliable.Change[Order]) bool { return c.Model.Total >= 0 },
					RunTx: func(_ context.Context, _ *gorm.DB, c reliable.Change[Order]) error { return book(c.DB(), c) },
				})
				depths := make(chan string, orders+1)
				reliable.AfterCreateCommit(r, "depth", func(_ context.Context, c reliable.Change[Booking]) error {
					depths <- string(c.Entry.Headers)
					return nil
				})
				db := openBooks(t, testdb.New(t, d), r)
				stop := start(t, &worker.Worker{DB: db, Threads: 4, PollInterval: 20 * time.Millisecond, Processor: &processors.NonOrdered{Completion: completion}})
				rows := make([]Order, orders)
				if err := errors.Join(db.Create(&rows).Error, db.Create(&Order{Total: -1}).Error); err != nil {
					t.Fatal(err)
				}
				eventually(t, "all is done", func() bool { return count(t, db, left) == 0 })
				if err := stop(); err != nil {
					t.Error(err)
				}
				checkBooks(t, db, orders)
				if len(depths) != orders {
					t.Fatalf("%d bookings were captured, want %d", len(depths), orders)
				}
				if headers := <-depths; headers != `{"reliable-depth":"1"}` {
					t.Errorf("a booking's entry has headers %s, want depth 1", headers)
				}
				history, kept := 2*orders+1, 0
				switch completion {
				case processors.Delete:
					history = 0
				case processors.Keep:
					history, kept = 0, 2*orders+1
				}
				if h, k := count(t, db, "SELECT count(*) FROM outbox_history"), count(t, db, "SELECT count(*) FROM outbox_entries"); h != history || k != kept {
					t.Errorf("%d entries are in the history, %d in the table, want %d and %d", h, k, history, kept)
				}
				if n := count(t, db, "SELECT count(*) FROM outbox_claims"); n != 0 {
					t.Errorf("%d claims are left, want 0", n)
				}
			})
		}
	})
}

// Whatever way a RunTx fails, its writes are rolled back.
func TestRunTxRollsBack(t *testing.T) {
	tests := []struct {
		name, says string
		fail       func(ctx context.Context) error
	}{
		{"error", "no", func(context.Context) error { return errors.New("no") }},
		{"panic", "panic: no", func(context.Context) error { panic("no") }},
		{"goexit", "%Goexit", func(context.Context) error { runtime.Goexit(); return nil }},
		{"snooze", "", func(context.Context) error { return reliable.Snooze(time.Millisecond) }},
		{"timeout", "%timed out%", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
		{"late", "%timed out%", func(ctx context.Context) error { <-ctx.Done(); return nil }},
	}
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				r := new(reliable.Registry)
				failed := false
				reliable.AfterCommit(r, reliable.Callback[Order]{
					Name: "book", Backoff: soon, Timeout: 500 * time.Millisecond,
					RunTx: func(ctx context.Context, tx *gorm.DB, c reliable.Change[Order]) error {
						if err := book(tx, c); err != nil || failed {
							return err
						}
						failed = true
						return test.fail(ctx)
					},
				})
				db := openBooks(t, testdb.New(t, d), r)
				start(t, &worker.Worker{DB: db, PollInterval: 20 * time.Millisecond})
				if err := db.Create(&Order{}).Error; err != nil {
					t.Fatal(err)
				}
				eventually(t, "all is done", func() bool { return count(t, db, left) == 0 })
				checkBooks(t, db, 1)
				if n := count(t, db, fmt.Sprintf("SELECT count(*) FROM outbox_history WHERE coalesce(error_message, '') LIKE '%s'", test.says)); n != 1 {
					t.Errorf("%d entries say that they failed with %q, want 1", n, test.says)
				}
			})
		}
	})
}

// A RunTx that is done stays done, whatever becomes of the entry's other
// callbacks, and that is durable before the next one runs.
func TestRunTxAmongOthers(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		var db *gorm.DB
		var l ledger
		r := new(reliable.Registry)
		flaky := func(name string) func(context.Context, reliable.Change[Order]) error {
			return func(_ context.Context, c reliable.Change[Order]) error {
				if l.add(c, name) < 3 {
					return errors.New("not yet")
				}
				return nil
			}
		}
		inTx := func(_ context.Context, tx *gorm.DB, c reliable.Change[Order]) error {
			l.add(c, "tx")
			return book(tx, c)
		}
		reliable.AfterCommit(r, reliable.Callback[Order]{Name: "before", Backoff: soon, Run: flaky("before")})
		reliable.AfterCommit(r, reliable.Callback[Order]{Name: "one", Backoff: soon, RunTx: inTx})
		reliable.AfterCommit(r, reliable.Callback[Order]{Name: "look", Run: func(context.Context, reliable.Change[Order]) error {
			var stored string
			if err := db.Raw("SELECT callbacks FROM outbox_entries").Scan(&stored).Error; err != nil || !strings.Contains(stored, `"one":{"state":"done"}`) {
				t.Errorf("after the first RunTx the entry says %s (%v), want that it is done", stored, err)
			}
			return nil
		}})
		reliable.AfterCommit(r, reliable.Callback[Order]{Name: "two", Backoff: soon, RunTx: inTx})
		reliable.AfterCommit(r, reliable.Callback[Order]{Name: "after", Backoff: soon, Run: flaky("after")})
		reliable.AfterCommit(r, reliable.Callback[Order]{Name: "bad", MaxAttempts: 1, Run: func(_ context.Context, c reliable.Change[Order]) error {
			if c.Model.Total == 1 {
				return errors.New("never")
			}
			return nil
		}})
		db = openBooks(t, testdb.New(t, d), r)
		start(t, &worker.Worker{DB: db, PollInterval: 20 * time.Millisecond})
		for total := range 2 {
			if err := db.Create(&Order{Total: total}).Error; err != nil {
				t.Fatal(err)
			}
			eventually(t, "nothing is owed", func() bool {
				return count(t, db, "SELECT count(*) FROM outbox_entries WHERE processed_at IS NULL AND dead_at IS NULL") == 0
			})
		}
		for _, id := range []int{1, 2} {
			for name, want := range map[string]int{"before": 3, "tx": 2, "after": 3} {
				if n := l.of(fmt.Sprintf("%s create %d", name, id)); n != want {
					t.Errorf("%s ran %d times for order %d, want %d", name, n, id, want)
				}
			}
		}
		if done, dead := count(t, db, "SELECT count(*) FROM outbox_history"), count(t, db, "SELECT count(*) FROM outbox_entries WHERE dead_at IS NOT NULL"); done != 1 || dead != 1 {
			t.Errorf("%d entries are done and %d dead, want 1 and 1", done, dead)
		}
		if n := count(t, db, "SELECT count(*) FROM bookings"); n != 4 {
			t.Errorf("%d bookings, want 4", n)
		}
	})
}
