package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/outbox"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// hostile are names that do harm where a name becomes SQL, a type, a file or a
// template.
func hostile() []string {
	return []string{
		"x'; DROP TABLE outbox_entries; --", `x"; DROP TABLE outbox_history; --`, "x`; DROP TABLE outbox_claims; --", `\'; DROP TABLE outbox_workers; --`,
		"../../etc/passwd", "/dev/zero", "{{.Entry}}", "${jndi:ldap://x}", "__proto__", "reflect.Value", "*reliable.Plugin", "%s%n%!v(PANIC=", "Order\n", "order", "Order ", "",
	}
}

// Names in rows are looked up among those that are registered, and in no other
// way: what is not is run by nobody, named as it is, and harms nothing else (74).
func TestForgedNames(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		for _, processor := range []processors.EntriesProcessor{new(processors.NonOrdered), new(processors.OrderedByCausalityKey)} {
			t.Run(fmt.Sprintf("%T", processor), func(t *testing.T) {
				var ran atomic.Int64
				var mu sync.Mutex
				var troubles []string
				m := new(reliable.Monitor)
				m.Subscribe(func(e reliable.Event) {
					mu.Lock()
					defer mu.Unlock()
					if e, ok := e.(*reliable.ErrorOccurred); ok {
						troubles = append(troubles, e.Step+": "+e.Err.Error())
					}
				})
				r := new(reliable.Registry)
				reliable.AfterCommit(r, reliable.Callback[Order]{Name: "receipt", Run: func(context.Context, reliable.Change[Order]) error {
					ran.Add(1)
					return nil
				}})
				db := testdb.New(t, d).Open(t)
				if err := errors.Join(db.Use(reliable.New(reliable.Config{Registry: r, Monitor: m})), migrations.Up(t.Context(), db), db.AutoMigrate(&Order{})); err != nil {
					t.Fatal(err)
				}
				keep(t, db)
				if err := db.Create(&Order{}).Error; err != nil { // the one to be copied
					t.Fatal(err)
				}
				tx := db.Begin() // one commit for all
				for _, name := range hostile() {
					for column, value := range map[string]string{"context": name, "resource_class": name, "event_name": name, "owed": fmt.Sprintf("[%q]", name)} {
						columns := strings.ReplaceAll("context, resource_class, event_name, owed, resource_id, changeset, causality_key, lane, error_class", column+", ", "")
						exec(t, tx, "INSERT INTO outbox_entries ("+column+", "+columns+") SELECT ?, "+strings.NewReplacer("causality_key", "?", "lane", "?", "error_class", "?").Replace(columns)+" FROM outbox_entries WHERE id = 1",
							value, name+"k", reliable.LaneOf(name+"k"), name)
					}
				}
				if err := tx.Commit().Error; err != nil {
					t.Fatal(err)
				}
				if err := db.Create(&Order{}).Error; err != nil { // behind all of them
					t.Fatal(err)
				}
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() {
					ended <- (&worker.Worker{DB: db, Processor: processor, PollInterval: 20 * time.Millisecond}).Run(ctx)
				}()
				await(t, "the two that are well are run", func() bool { return ran.Load() == 2 && count(t, db, "outbox_history") == 2 })
				o := outbox.Of(db)
				for _, name := range hostile()[:4] {
					for _, f := range []outbox.Filter{{Model: name}, {Event: name}, {Context: name}, {Callback: name}, {Key: name + "k"}, {ErrorClass: name}, {ModelID: name}} {
						if _, err := o.List(t.Context(), f); err != nil {
							t.Errorf("List(%+v) = %v", f, err)
						}
					}
					if _, err := o.Retry(t.Context(), outbox.Filter{Model: name}); err != nil {
						t.Errorf("Retry() of model %q = %v", name, err)
					}
				}
				if got, err := o.List(t.Context(), outbox.Filter{State: outbox.Orphan, Limit: outbox.MaxPage}); err != nil || len(got.Entries) != 4*len(hostile()) {
					t.Errorf("List() = %d entries, %v, want %d orphans", len(got.Entries), err, 4*len(hostile()))
				}
				if _, err := o.Status(t.Context()); err != nil {
					t.Errorf("Status() = %v", err)
				}
				if got, err := o.Discard(t.Context(), outbox.Filter{State: outbox.Orphan}); err != nil || got.Done != 4*len(hostile()) {
					t.Errorf("Discard() = %+v, %v, want all orphans", got, err)
				}
				stop()
				if err := <-ended; err != nil {
					t.Error(err)
				}
				for _, table := range []string{"outbox_entries", "outbox_history", "outbox_claims", "outbox_workers"} {
					count(t, db, table) // they are there
				}
				mu.Lock()
				defer mu.Unlock()
				if len(troubles) > 0 || ran.Load() != 2 {
					t.Errorf("%d runs, and the worker had %q, want 2 runs and no trouble", ran.Load(), troubles)
				}
			})
		}
	})
}
