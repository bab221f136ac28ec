package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// Numbers, times and states in rows that no worker wrote end no worker, and keep
// no other entry from being done: each runs, fails or dies as it is (74).
func TestForgedNumbers(t *testing.T) {
	forgeries := []string{
		"attempts = -5", "attempts = 2147483647", "crashes = -2147483648", "crashes = 2147483647", "kind = 4711", "lane = 3000", "lane = -1",
		`headers = '{"reliable-depth":"99999999999999999999"}'`, `headers = '{"reliable-depth":"-7"}'`, `headers = '{"reliable-depth":7}'`,
		`callbacks = '{"ledger":{"state":"x","attempts":-1}}'`, `callbacks = '{"ledger":{"state":"pending","attempts":9223372036854775807}}'`,
		`callbacks = '{"ledger":null}'`, `callbacks = '[]'`, `callbacks = '{"../../x":{"state":"done"}}'`,
		`retry_at = '1000-01-01 00:00:00'`, `created_at = '9999-12-31 00:00:00'`, `arguments = '1e999999'`, `owed = '{}'`, `owed = NULL`,
	}
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		forgeries := append(slices.Clone(forgeries), map[testdb.Dialect][]string{
			testdb.Postgres: {"created_at = 'infinity'", "created_at = '-infinity'", "created_at = '4711-01-01 BC'", "retry_at = '-infinity'"},
			testdb.MySQL:    {"created_at = '1000-01-01 00:00:00'"},
			testdb.SQLite:   {"created_at = 'soon'", "attempts = 'many'", "crashes = x'00'", "kind = 'none'", "kind = 1.5", "attempts = 1e300", "retry_at = 'never'", "changeset = x'ff00'", "causality_key = 7"},
		}[d]...)
		for _, processor := range []processors.EntriesProcessor{new(processors.NonOrdered), new(processors.OrderedByCausalityKey)} {
			t.Run(fmt.Sprintf("%T", processor), func(t *testing.T) {
				var ran atomic.Int64
				var mu sync.Mutex
				var troubles []string
				m := new(reliable.Monitor)
				m.Subscribe(func(e reliable.Event) {
					if e, ok := e.(*reliable.ErrorOccurred); ok && e.Step != "housekeeping" { // which measures, or tells that it can't
						mu.Lock()
						defer mu.Unlock()
						troubles = append(troubles, e.Step+": "+e.Err.Error())
					}
				})
				r := new(reliable.Registry)
				reliable.HandleEvent(r, "billing", "invoice_sent", "ledger", func(_ context.Context, _ *reliable.OutboxEntry, broken bool) error {
					if broken {
						return errors.New("refused")
					}
					ran.Add(1)
					return nil
				})
				db := testdb.New(t, d).Open(t)
				if err := errors.Join(db.Use(reliable.New(reliable.Config{Registry: r, Monitor: m})), migrations.Up(t.Context(), db)); err != nil {
					t.Fatal(err)
				}
				record := func(tx *gorm.DB, key string, broken bool) int64 {
					id, err := reliable.Record(t.Context(), tx, reliable.Entry{Context: "billing", EventName: "invoice_sent", CausalityKey: key, Arguments: broken})
					if err != nil {
						t.Fatal(err)
					}
					return id
				}
				err := db.Transaction(func(tx *gorm.DB) error {
					for i, set := range forgeries {
						for _, broken := range []bool{true, false} {
							exec(t, tx, "UPDATE outbox_entries SET "+set+" WHERE id = ?", record(tx, fmt.Sprintf("key-%d-%t", i, broken), broken))
						}
					}
					record(tx, "ann", false)
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() {
					ended <- (&worker.Worker{DB: db, Processor: processor, PollInterval: 20 * time.Millisecond, NoBreaker: true}).Run(ctx)
				}()
				for i := 0; count(t, db, "outbox_entries WHERE causality_key = 'ann'") > 0; i++ {
					if i == 1000 {
						mu.Lock()
						t.Fatalf("the entry that is well is not done after 10 s; trouble: %.2000s", strings.Join(troubles, "\n"))
					}
					<-time.After(10 * time.Millisecond)
				}
				stop()
				if err := <-ended; err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				if len(troubles) > 0 {
					t.Errorf("the worker had trouble: %.2000s", strings.Join(troubles, "\n"))
				}
			})
		}
	})
}
