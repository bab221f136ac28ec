package worker_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// Order is the model of these tests.
type Order struct {
	ID    uint
	Total int
}

func TestCommittedChangesRunTheirCallbacks(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		var l ledger
		r := new(reliable.Registry)
		reliable.AfterCommit(r, reliable.Callback[Order]{Name: "plain", Run: func(_ context.Context, c reliable.Change[Order]) error {
			l.add(c, "plain")
			if c.Operation == reliable.OpUpdate && (c.Before().Total != 1 || c.After().Total != 2 || !c.Changed("Total")) {
				return reliable.Permanent(fmt.Errorf("before %+v, after %+v", c.Before(), c.After()))
			}
			return nil
		}})
		reliable.AfterCommit(r, reliable.Callback[Order]{Name: "flaky", On: reliable.OpCreate, Backoff: soon, Breaker: &reliable.Breaker{Off: true}, Run: func(_ context.Context, c reliable.Change[Order]) error {
			switch l.add(c, "flaky") {
			case 1:
				panic("once")
			case 2:
				runtime.Goexit()
			case 3:
				return errors.New("a \x00 byte and \xff")
			}
			return nil
		}})
		reliable.AfterCommit(r, reliable.Callback[Order]{Name: "never", On: reliable.OpCreate, If: func(c reliable.Change[Order]) bool { return c.Model.Total < 0 }, Run: func(_ context.Context, c reliable.Change[Order]) error {
			l.add(c, "never")
			return nil
		}})
		r.Handle("service_object", "audit", reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error { return nil }))
		db := open(t, testdb.New(t, d), r)
		stop := start(t, &worker.Worker{DB: db, Threads: 4, PollInterval: 20 * time.Millisecond})

		orders := make([]Order, 20)
		for i := range orders {
			orders[i].Total = 1
		}
		err := db.Transaction(func(tx *gorm.DB) error {
			_, err := reliable.Record(t.Context(), tx, reliable.Entry{Context: "service_object", EventName: "opened"})
			return errors.Join(err, tx.Create(&orders).Error)
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(db.Model(&Order{}).Where("id <= 5").Update("total", 2).Error, db.Delete(&Order{}, "id > 15").Error); err != nil {
			t.Fatal(err)
		}
		eventually(t, "no entry left", func() bool { return count(t, db, "SELECT count(*) FROM outbox_entries") == 0 })
		if err := stop(); err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
		for key, want := range map[string]int{
			"plain create 1": 1, "plain update 5": 1, "plain update 6": 0, "plain destroy 16": 1, "plain destroy 15": 0, "flaky create 7": 4, "flaky update 1": 0, "never create 1": 0,
		} {
			if got := l.of(key); got != want {
				t.Errorf("%s ran %d times, want %d", key, got, want)
			}
		}
		if got := count(t, db, "SELECT count(*) FROM outbox_history"); got != 31 {
			t.Errorf("history has %d entries, want 31", got)
		}
		if got := count(t, db, "SELECT count(*) FROM outbox_workers") + count(t, db, "SELECT count(*) FROM outbox_claims"); got != 0 {
			t.Errorf("%d rows of the stopped worker are left, want 0", got)
		}
	})
}

func TestExhaustedCallbacksAreDead(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		var l ledger
		r := new(reliable.Registry)
		reliable.AfterCommit(r, reliable.Callback[Order]{Name: "bad", MaxAttempts: 2, Backoff: soon, Run: func(_ context.Context, c reliable.Change[Order]) error {
			l.add(c, "bad")
			return errors.New("always")
		}})
		reliable.AfterCreateCommit(r, "good", func(_ context.Context, c reliable.Change[Order]) error { l.add(c, "good"); return nil })
		db := open(t, testdb.New(t, d), r)
		start(t, &worker.Worker{DB: db, PollInterval: 20 * time.Millisecond})
		if err := db.Create(&Order{}).Error; err != nil {
			t.Fatal(err)
		}
		eventually(t, "the entry is dead", func() bool {
			return count(t, db, "SELECT count(*) FROM outbox_entries WHERE dead_at IS NOT NULL AND attempts = 2 AND error_message = 'always'") == 1
		})
		if bad, good := l.of("bad create 1"), l.of("good create 1"); bad != 2 || good != 1 {
			t.Errorf("bad ran %d times, good %d times, want 2 and 1", bad, good)
		}
	})
}

// A worker whose binary does not know a callback leaves the entry alone, and
// counts it; one that does takes it (62).
func TestUnknownCallbacksWait(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		var l ledger
		run := func(name string) func(context.Context, reliable.Change[Order]) error {
			return func(_ context.Context, c reliable.Change[Order]) error { l.add(c, name); return nil }
		}
		url := testdb.New(t, d)
		newer, older := new(reliable.Registry), new(reliable.Registry)
		reliable.AfterCreateCommit(newer, "receipt", run("receipt"))
		reliable.AfterCreateCommit(newer, "index", run("index"))
		reliable.AfterCreateCommit(older, "receipt", run("receipt"))
		newDB, oldDB := open(t, url, newer), open(t, url, older)
		if err := newDB.Create(&Order{}).Error; err != nil {
			t.Fatal(err)
		}
		plugin, err := reliable.From(oldDB)
		if err != nil {
			t.Fatal(err)
		}
		orphans := make(chan *reliable.OrphansFound, 10)
		defer reliable.Subscribe(plugin.Monitor(), func(e *reliable.OrphansFound) { orphans <- e })()
		stop := start(t, &worker.Worker{DB: oldDB, PollInterval: 20 * time.Millisecond})
		if e := <-orphans; e.Entries != 1 || strings.Join(e.Owed, " ") != "receipt index" {
			t.Errorf("OrphansFound = %+v, want one entry that owes receipt and index", e)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if n := count(t, newDB, "SELECT count(*) FROM outbox_entries WHERE attempts = 0 AND callbacks IS NULL AND retry_at IS NULL"); n != 1 {
			t.Errorf("%d entries untouched, want 1", n)
		}
		start(t, &worker.Worker{DB: newDB, PollInterval: 20 * time.Millisecond})
		eventually(t, "the newer worker did it", func() bool { return l.of("index create 1") == 1 })
	})
}

// A stopped worker gives back what it did not start, and burns no attempt of
// what it interrupts.
func TestDrainBurnsNothing(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		begun := make(chan struct{}, 100)
		r := new(reliable.Registry)
		reliable.AfterCreateCommit(r, "slow", func(ctx context.Context, _ reliable.Change[Order]) error {
			begun <- struct{}{}
			<-ctx.Done()
			if !errors.Is(context.Cause(ctx), reliable.ErrShutdown) {
				t.Errorf("cause = %v, want ErrShutdown", context.Cause(ctx))
			}
			return ctx.Err()
		})
		db := open(t, testdb.New(t, d), r)
		orders := make([]Order, 10)
		if err := db.Create(&orders).Error; err != nil {
			t.Fatal(err)
		}
		stop := start(t, &worker.Worker{DB: db, Threads: 2, PollInterval: 20 * time.Millisecond, ShutdownTimeout: time.Millisecond})
		<-begun
		<-begun
		if err := stop(); err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
		if n := count(t, db, "SELECT count(*) FROM outbox_entries WHERE attempts = 0 AND crashes = 0 AND NOT suspect"); n != 10 {
			t.Errorf("%d entries with nothing burnt, want 10", n)
		}
		if n := count(t, db, "SELECT count(*) FROM outbox_claims"); n != 0 {
			t.Errorf("%d claims left, want 0", n)
		}
	})
}

// What a dead worker held is taken over; its late finish changes nothing.
func TestRescueFencesTheDead(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		var l ledger
		r := new(reliable.Registry)
		reliable.AfterCreateCommit(r, "once", func(_ context.Context, c reliable.Change[Order]) error { l.add(c, "once"); return nil })
		db := open(t, testdb.New(t, d), r)
		orders := make([]Order, 3)
		if err := db.Create(&orders).Error; err != nil {
			t.Fatal(err)
		}
		plugin, err := reliable.From(db)
		if err != nil {
			t.Fatal(err)
		}
		zombie := &processors.NonOrdered{}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() {
			ended <- zombie.Run(ctx, processors.Site{DB: db, Plugin: plugin, Worker: "zombie", Threads: 1}, func() {})
		}()
		defer func() { cancel(); <-ended }() //nolint:errcheck // it was cancelled
		claim, err := zombie.Claim(t.Context(), 10)
		if err != nil || claim == nil || len(claim.Entries()) != 3 {
			t.Fatalf("Claim() = %v, %v, want three entries", claim, err)
		}
		if err := db.Exec("DELETE FROM outbox_workers WHERE id LIKE 'zombie%'").Error; err != nil { // as a rescuer would
			t.Fatal(err)
		}
		start(t, &worker.Worker{DB: db, PollInterval: 20 * time.Millisecond, Processor: &processors.NonOrdered{LeaseTTL: 300 * time.Millisecond}})
		eventually(t, "the other worker did it", func() bool { return count(t, db, "SELECT count(*) FROM outbox_history") == 3 })
		var outcomes []reliable.Outcome
		for _, e := range claim.Entries() {
			outcomes = append(outcomes, reliable.Outcome{Entry: e})
		}
		if err := claim.Finish(t.Context(), outcomes); !errors.Is(err, reliable.ErrLeaseLost) {
			t.Errorf("late Finish() = %v, want ErrLeaseLost", err)
		}
		if n := count(t, db, "SELECT count(*) FROM outbox_history"); n != 3 || l.of("once create 1") != 1 {
			t.Errorf("history has %d, order 1 ran %d times, want 3 and 1", n, l.of("once create 1"))
		}
	})
}

// A worker that is stopped while it starts has nothing to report.
func TestStopWhileStarting(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		r := new(reliable.Registry)
		reliable.AfterCreateCommit(r, "x", func(context.Context, reliable.Change[Order]) error { return nil })
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := (&worker.Worker{DB: open(t, testdb.New(t, d), r)}).Run(ctx); err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
	})
}

func TestMissingTablesSayWhatToDo(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		r := new(reliable.Registry)
		reliable.AfterCreateCommit(r, "x", func(context.Context, reliable.Change[Order]) error { return nil })
		db := testdb.New(t, d).Open(t)
		if err := db.Use(reliable.New(reliable.Config{Registry: r})); err != nil {
			t.Fatal(err)
		}
		if err := (&worker.Worker{DB: db}).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "migrations.Up(ctx, db)") {
			t.Errorf("Run() = %v, want the way out", err)
		}
	})
}

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("gorm.io/gorm/internal/lru.NewLRU[...].func1")) // GORM's statement cache never ends
}
