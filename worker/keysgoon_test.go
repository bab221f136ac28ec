package worker_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// What of a key does not fit into one claim is claimed when that is finished,
// without waiting for a poll.
func TestKeysGoOnWithoutAPoll(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		const n = 500
		var mu sync.Mutex
		var ran []int64
		r := new(reliable.Registry)
		r.Handle("job", "run", reliable.RecordProcessorFunc(func(_ context.Context, e *reliable.OutboxEntry) error {
			mu.Lock()
			defer mu.Unlock()
			ran = append(ran, e.ID)
			return nil
		}))
		db := open(t, testdb.New(t, d), r)
		entries := make([]reliable.Entry, n)
		for i := range entries {
			entries[i] = reliable.Entry{Context: "job", EventName: "due", CausalityKey: "hot"}
		}
		err := db.Transaction(func(tx *gorm.DB) error {
			_, err := reliable.RecordAll(t.Context(), tx, entries)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		stop := start(t, &worker.Worker{DB: db, Threads: 4, PollInterval: time.Hour, Processor: &processors.OrderedByCausalityKey{}})
		within(t, time.Minute, "all are done", func() bool { mu.Lock(); defer mu.Unlock(); return len(ran) == n })
		if !slices.IsSorted(ran) {
			t.Errorf("they ran as %v, want them by id", ran)
		}
		if err := stop(); err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
	})
}
