package worker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// Of five callbacks the third fails three times: the others of the entry run
// once, and none of the next entry of its key before all five are done.
func TestOrderedRetriesOnlyWhatFailed(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		const entries, failures = 4, 3
		var mu sync.Mutex
		var ran []string // "entry callback", in the order of their ends
		failed := make(map[int64]int)
		r := new(reliable.Registry)
		reliable.Register(r, reliable.Model[Order]{CausalityKey: func(*Order) string { return "one" }})
		for n := range 5 {
			reliable.AfterCommit(r, reliable.Callback[Order]{Name: fmt.Sprint("callback", n), Backoff: soon, Breaker: &reliable.Breaker{Off: true}, Run: func(_ context.Context, c reliable.Change[Order]) error {
				mu.Lock()
				defer mu.Unlock()
				if n == 2 && failed[c.Entry.ID] < failures {
					failed[c.Entry.ID]++
					ran = append(ran, fmt.Sprint(c.Entry.ID, " failed"))
					return errors.New("not yet")
				}
				ran = append(ran, fmt.Sprint(c.Entry.ID, " ", n))
				return nil
			}})
		}
		db := open(t, testdb.New(t, d), r)
		for range entries {
			if err := db.Create(&Order{}).Error; err != nil {
				t.Fatal(err)
			}
		}
		start(t, &worker.Worker{DB: db, Threads: 4, PollInterval: 5 * time.Millisecond, Processor: &processors.OrderedByCausalityKey{}})
		eventually(t, "all is done", func() bool { return count(t, db, left) == 0 })
		mu.Lock()
		defer mu.Unlock()
		if want := entries * (5 + failures); len(ran) != want {
			t.Fatalf("%d runs, want %d: %v", len(ran), want, ran)
		}
		for part := range slices.Chunk(ran, 5+failures) {
			id, _, _ := strings.Cut(part[0], " ")
			for n := range 5 {
				if !slices.Contains(part, fmt.Sprint(id, " ", n)) {
					t.Errorf("callback %d of entry %s is not among the runs of its turn: %v", n, id, part)
				}
			}
		}
	})
}
