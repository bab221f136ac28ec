package deploys_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/outbox"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// Order is called Purchase by the new version.
type Order struct {
	ID    uint
	Total int
}

// TableName implements gorm's Tabler.
func (Order) TableName() string { return "orders" }

// ledger notes what ran, and where.
type ledger struct {
	mu   sync.Mutex
	runs []string
	fail string // this callback fails
}

func (l *ledger) run(version string, callback string) func(context.Context, reliable.Change[Order]) error {
	return func(_ context.Context, c reliable.Change[Order]) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.runs = append(l.runs, fmt.Sprintf("%s %s for %s, attempt %d", version, callback, c.IdempotencyKey(), c.Attempt))
		if l.fail == callback {
			return errors.New("not yet")
		}
		return nil
	}
}

func (l *ledger) handle(version, name string) reliable.RecordProcessorFunc {
	return func(_ context.Context, e *reliable.OutboxEntry) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.runs = append(l.runs, fmt.Sprintf("%s %s for %d", version, name, e.ID))
		return nil
	}
}

// take returns what ran since the last call, sorted.
func (l *ledger) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.Sort(l.runs)
	defer func() { l.runs = nil }()
	return l.runs
}

func (l *ledger) want(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, l.take()); diff != "" {
		t.Errorf("what ran (-want +got):\n%s", diff)
	}
}

// former applies to entries that do not also owe the processor's new name.
type former struct {
	reliable.RecordProcessorFunc
	now string
}

func (f former) Applies(e *reliable.OutboxEntry) bool { return !slices.Contains(e.Owed, f.now) }

// versions opens a database as two versions of a program do. The old one knows
// the callbacks receipt, stock and legacy; in the new one the model is renamed,
// receipt is called mail, legacy is gone, and index is new.
func versions(t *testing.T, d testdb.Dialect, l *ledger) (older, newer *gorm.DB) {
	t.Helper()
	soon := func(int) time.Duration { return time.Millisecond }
	was, is := new(reliable.Registry), new(reliable.Registry)
	reliable.AfterCommit(was, reliable.Callback[Order]{Name: "receipt", On: reliable.OpCreate, Backoff: soon, Run: l.run("old", "receipt")})
	reliable.AfterCommit(was, reliable.Callback[Order]{Name: "stock", On: reliable.OpCreate, Run: l.run("old", "stock")})
	reliable.AfterCommit(was, reliable.Callback[Order]{Name: "legacy", On: reliable.OpDestroy, Run: l.run("old", "legacy")})
	was.Handle("billing", "ledger", l.handle("old", "ledger"))

	reliable.Register(is, reliable.Model[Order]{Name: "Purchase", Aliases: []string{"Order"}})
	reliable.AfterCommit(is, reliable.Callback[Order]{Name: "mail", Aliases: []string{"receipt"}, On: reliable.OpCreate, Backoff: soon, Run: l.run("new", "mail")})
	reliable.AfterCommit(is, reliable.Callback[Order]{Name: "stock", On: reliable.OpCreate, Run: l.run("new", "stock")})
	reliable.AfterCommit(is, reliable.Callback[Order]{Name: "index", On: reliable.OpUpdate, Run: l.run("new", "index")})
	is.Handle("billing", "books", l.handle("new", "books"))
	is.Handle("billing", "ledger", former{l.handle("new", "ledger"), "books"})

	url := testdb.New(t, d)
	return open(t, url, reliable.Config{Registry: was}, &Order{}), open(t, url, reliable.Config{Registry: is})
}

// orphans returns a channel on which a database's worker tells of them.
func orphans(t *testing.T, db *gorm.DB) chan *reliable.OrphansFound {
	t.Helper()
	plugin, err := reliable.From(db)
	if err != nil {
		t.Fatal(err)
	}
	found := make(chan *reliable.OrphansFound, 100)
	t.Cleanup(reliable.Subscribe(plugin.Monitor(), func(e *reliable.OrphansFound) { found <- e }))
	return found
}

// await waits for the orphans of an event, and holds them and what a status
// says against one entry.
func await(t *testing.T, db *gorm.DB, found chan *reliable.OrphansFound, event, owed string) {
	t.Helper()
	for deadline := time.After(time.Minute); ; {
		select {
		case e := <-found:
			if e.EventName != event {
				continue
			}
			if got := fmt.Sprint(e.Owed); got != owed || e.Entries != 1 {
				t.Errorf("%s: %d orphans that owe %s, want one that owes %s", event, e.Entries, got, owed)
			}
		case <-deadline:
			t.Fatalf("not within a minute: orphans of %s", event)
		}
		break
	}
	s, err := outbox.Of(db).Status(t.Context())
	if err != nil || s.Orphans.N != 1 || s.Pending.N != 1 {
		t.Errorf("Status() = %d orphans of %d pending, %v, want one of one", s.Orphans.N, s.Pending.N, err)
	}
}

func left(t *testing.T, db *gorm.DB) func() bool {
	return func() bool { return count(t, db, "SELECT count(*) FROM outbox_entries") == 0 }
}

// While two versions of producers and of workers share a table, each entry is
// worked by a version that knows all it owes, once; what only the other knows is
// left to it, without an attempt, and counted (62).
func TestTwoVersions(t *testing.T) {
	t.Parallel()
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		var l ledger
		older, newer := versions(t, d, &l)
		toOld, toNew := orphans(t, older), orphans(t, newer)

		stopNew := start(t, &worker.Worker{DB: newer})
		if err := older.Create(&Order{ID: 1}).Error; err != nil {
			t.Fatal(err)
		}
		eventually(t, "the new worker does under former names what it knows", left(t, newer))
		l.want(t, "new mail for 1/receipt, attempt 1", "new stock for 1/stock, attempt 1")

		if err := older.Delete(&Order{ID: 1}).Error; err != nil {
			t.Fatal(err)
		}
		await(t, newer, toNew, "order_destroyed", "[legacy]")
		stopOld := start(t, &worker.Worker{DB: older})
		eventually(t, "the old worker does what the new one has dropped", left(t, older))
		l.want(t, "old legacy for 2/legacy, attempt 1")
		stopNew()

		for _, o := range []*Order{{ID: 2}, {ID: 3}} { // of which the old worker does nothing: it is not called Order
			if err := reliable.Skip(newer).Create(o).Error; err != nil {
				t.Fatal(err)
			}
		}
		if err := newer.Model(&Order{ID: 2}).Update("total", 5).Error; err != nil {
			t.Fatal(err)
		}
		await(t, older, toOld, "purchase_updated", "[index]")
		stopNew = start(t, &worker.Worker{DB: newer})
		eventually(t, "the new worker does what the old one does not know", left(t, newer))
		l.want(t, "new index for 3/index, attempt 1")

		stopOld() // before it is rolled out everywhere, an old producer is left over
		if err := older.Delete(&Order{ID: 3}).Error; err != nil {
			t.Fatal(err)
		}
		await(t, newer, toNew, "order_destroyed", "[legacy]")
		if n := count(t, newer, "SELECT count(*) FROM outbox_entries WHERE attempts = 0 AND failed_at IS NULL AND dead_at IS NULL AND callbacks IS NULL"); n != 1 {
			t.Errorf("%d entries as they were written, want one", n)
		}
		result, err := outbox.Of(newer).Discard(t.Context(), outbox.Filter{State: outbox.Orphan})
		if err != nil || result.Done != 1 || !left(t, newer)() {
			t.Errorf("Discard() = %+v, %v, want the orphan", result, err)
		}
		stopNew()
		l.want(t)
	})
}

// A callback that failed under its former name goes on under the new one: same
// idempotency key, next attempt, and what was done beside it is not done again (62).
func TestRenamedWhileFailing(t *testing.T) {
	t.Parallel()
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		l := ledger{fail: "receipt"}
		older, newer := versions(t, d, &l)
		stop := start(t, &worker.Worker{DB: older})
		if err := older.Create(&Order{ID: 1}).Error; err != nil {
			t.Fatal(err)
		}
		eventually(t, "receipt has failed", func() bool { return count(t, older, "SELECT count(*) FROM outbox_entries WHERE attempts > 0") == 1 })
		stop()
		failed := count(t, older, "SELECT attempts FROM outbox_entries")
		if ran := l.take(); len(ran) != failed+1 || ran[failed] != "old stock for 1/stock, attempt 1" {
			t.Errorf("%q ran, of which %d failed; want those and stock", ran, failed)
		}
		stop = start(t, &worker.Worker{DB: newer})
		eventually(t, "mail has run", left(t, newer))
		stop()
		l.want(t, fmt.Sprintf("new mail for 1/receipt, attempt %d", failed+1))
	})
}

// A record processor is renamed by registering it twice: under the former name
// it declines entries that owe the new one, too (62).
func TestRenamedProcessor(t *testing.T) {
	t.Parallel()
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		var l ledger
		older, newer := versions(t, d, &l)
		for _, db := range []*gorm.DB{older, newer} {
			err := db.Transaction(func(tx *gorm.DB) error {
				_, err := reliable.Record(t.Context(), tx, reliable.Entry{Context: "billing", EventName: "sent"})
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		stop := start(t, &worker.Worker{DB: newer})
		eventually(t, "both are done", left(t, newer))
		stop()
		l.want(t, "new books for 2", "new ledger for 1")
	})
}
