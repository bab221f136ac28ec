package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/outbox"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// Two operators retry whatever is dead while a worker works: each entry that
// died is retried once for each time, none is lost, and ordered workers keep the
// order of each key (80).
func TestRetryWhileWorking(t *testing.T) {
	const keys, each = 4, 10
	for name, processor := range map[string]func() processors.EntriesProcessor{
		"non_ordered": func() processors.EntriesProcessor { return new(processors.NonOrdered) },
		"park":        func() processors.EntriesProcessor { return new(processors.OrderedByCausalityKey) },
		"skip":        func() processors.EntriesProcessor { return &processors.OrderedByCausalityKey{Policy: reliable.KeySkip} },
	} {
		t.Run(name, func(t *testing.T) {
			testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
				var mu sync.Mutex
				failed, done := make(map[int64]bool), make(map[string][]int64)
				running := make(map[string]bool)
				r := new(reliable.Registry)
				r.Handle("billing", "ledger", reliable.RecordProcessorFunc(func(_ context.Context, e *reliable.OutboxEntry) error {
					mu.Lock()
					defer mu.Unlock()
					if running[e.CausalityKey] && name != "non_ordered" {
						t.Errorf("entry %d runs beside another of key %s", e.ID, e.CausalityKey)
					}
					running[e.CausalityKey] = true
					defer func() { running[e.CausalityKey] = false }()
					if !failed[e.ID] { // each fails at its first run
						failed[e.ID] = true
						return reliable.Permanent(errors.New("no such account"))
					}
					done[e.CausalityKey] = append(done[e.CausalityKey], e.ID)
					return nil
				}))
				db := testdb.New(t, d).Open(t)
				if err := errors.Join(db.Use(reliable.New(reliable.Config{Registry: r})), migrations.Up(t.Context(), db)); err != nil {
					t.Fatal(err)
				}
				want := make(map[string][]int64)
				for i := range keys {
					key := fmt.Sprint("key-", i)
					want[key] = record(t, db, key, slices.Repeat([]string{"sent"}, each)...)
				}
				ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
				var all sync.WaitGroup
				defer func() { cancel(); all.Wait() }()
				all.Go(func() {
					w := &worker.Worker{DB: db, Threads: 4, PollInterval: 10 * time.Millisecond, Processor: processor()}
					if err := w.Run(ctx); err != nil {
						t.Errorf("Run() = %v, want nil", err)
					}
				})
				results := make([]outbox.Result, 2)
				var operators sync.WaitGroup
				begun := time.Now()
				for i := range results {
					operators.Go(func() {
						for o := outbox.Of(db); count(t, db, "outbox_entries") > 0; {
							if time.Since(begun) > time.Minute {
								t.Error("it is not over after a minute")
								return
							}
							got, err := o.Retry(t.Context(), outbox.Filter{State: outbox.Dead})
							if err != nil {
								t.Error(err)
								return
							}
							results[i].Done += got.Done
							<-time.After(5 * time.Millisecond)
						}
					})
				}
				operators.Wait()
				mu.Lock()
				defer mu.Unlock()
				if n := results[0].Done + results[1].Done; n != keys*each || count(t, db, "outbox_history") != keys*each || count(t, db, "outbox_parked_keys") != 0 {
					t.Errorf("%d were retried, %d are in the history, want %d, and no key parked", n, count(t, db, "outbox_history"), keys*each)
				}
				for key, ids := range want {
					got := slices.Clone(done[key])
					if name != "park" { // where nothing waits for what failed
						slices.Sort(got)
					}
					if !slices.Equal(got, ids) {
						t.Errorf("entries of %s ran in the order %v, want %v", key, got, ids)
					}
				}
			})
		})
	}
}
