package worker_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// calls notes what a batch processor got.
type calls struct {
	mu    sync.Mutex
	sizes []int
	runs  map[int64]int
}

func (c *calls) add(entries []*reliable.OutboxEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.runs == nil {
		c.runs = make(map[int64]int)
	}
	c.sizes = append(c.sizes, len(entries))
	for _, e := range entries {
		c.runs[e.ID]++
	}
}

// record commits entries of a context, one with each event.
func record(t *testing.T, db *gorm.DB, events ...string) {
	t.Helper()
	entries := make([]reliable.Entry, len(events))
	for i, event := range events {
		entries[i] = reliable.Entry{Context: "search", EventName: event}
	}
	err := db.Transaction(func(tx *gorm.DB) error {
		_, err := reliable.RecordAll(t.Context(), tx, entries)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A batch processor gets many entries in a call, in order, and no more than
// allowed; each of them once, whatever else its entries owe.
func TestBatches(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		const entries, most = 200, 8
		var l calls
		var singles atomic.Int64
		r := new(reliable.Registry)
		single := reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error { singles.Add(1); return nil })
		r.Handle("search", "before", single)
		r.HandleBatch("search", "index", most, reliable.BatchProcessorFunc(func(_ context.Context, batch []*reliable.OutboxEntry) []error {
			l.add(batch)
			if !slices.IsSortedFunc(batch, func(a, b *reliable.OutboxEntry) int { return int(a.ID - b.ID) }) {
				t.Error("a batch is not in the order of its ids")
			}
			return make([]error, len(batch))
		}))
		r.HandleBatch("search", "count", 3, reliable.BatchProcessorFunc(func(_ context.Context, batch []*reliable.OutboxEntry) []error {
			if len(batch) > 3 {
				t.Errorf("%d entries in a call, want at most 3", len(batch))
			}
			return make([]error, len(batch))
		}))
		r.Handle("search", "after", single)
		r.Handle("other", "single", single)
		db := open(t, testdb.New(t, d), r)
		record(t, db, slices.Repeat([]string{"changed"}, entries)...)
		start(t, &worker.Worker{DB: db, Threads: 4, PollInterval: 20 * time.Millisecond, BatchSize: 50})
		eventually(t, "all is done", func() bool { return count(t, db, left) == 0 })
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.runs) != entries || len(l.sizes) > entries/most+10 || slices.Max(l.sizes) != most {
			t.Errorf("%d entries in calls of %v, want %d in calls of mostly %d", len(l.runs), l.sizes, entries, most)
		}
		for id, n := range l.runs {
			if n != 1 {
				t.Errorf("entry %d ran %d times, want once", id, n)
			}
		}
		if n := singles.Load(); n != 2*entries {
			t.Errorf("the other processors ran %d times, want %d", n, 2*entries)
		}
	})
}

// Each entry of a batch has an outcome of its own, and its other processors
// keep theirs.
func TestBatchOutcomes(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		var l calls
		var singles atomic.Int64
		r := new(reliable.Registry)
		r.HandleBatch("search", "index", 0, reliable.BatchProcessorFunc(func(_ context.Context, batch []*reliable.OutboxEntry) []error {
			l.add(batch)
			errs := make([]error, len(batch))
			for i, e := range batch {
				switch e.EventName {
				case "bad":
					errs[i] = reliable.Permanent(errors.New("bad"))
				case "dropped":
					errs[i] = reliable.Discard("not wanted")
				case "later":
					if l.of(e.ID) == 1 {
						errs[i] = reliable.Snooze(time.Millisecond)
					}
				}
			}
			return errs
		}))
		r.Handle("search", "single", reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error { singles.Add(1); return nil }))
		db := open(t, testdb.New(t, d), r)
		record(t, db, "good", "bad", "dropped", "later", "good")
		start(t, &worker.Worker{DB: db, PollInterval: 20 * time.Millisecond, BatchSize: 10})
		eventually(t, "four are done, one is dead", func() bool {
			return count(t, db, "SELECT count(*) FROM outbox_history") == 4 && count(t, db, "SELECT count(*) FROM outbox_entries WHERE dead_at IS NOT NULL AND event_name = 'bad'") == 1
		})
		if got := fmt.Sprint(l.sizes, l.runs, singles.Load()); got != "[5 1] map[1:1 2:1 3:1 4:2 5:1] 5" {
			t.Errorf("calls, runs by entry and single runs: %s, want one call of all and one of the snoozed", got)
		}
		if n := count(t, db, "SELECT count(*) FROM outbox_history WHERE attempts > 0"); n != 0 {
			t.Errorf("%d entries burnt an attempt, want only the bad one", n)
		}
	})
}

func (c *calls) of(id int64) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.runs[id]
}

// A call that fails as such is a failed attempt of all of its entries, and of
// nothing else.
func TestBatchFailsAsAWhole(t *testing.T) {
	const n = 3
	tests := []struct {
		name, says string
		fail       func(ctx context.Context) []error
	}{
		{"too few", "returned 2 errors for 3 entries: want one for each", func(context.Context) []error { return make([]error, n-1) }},
		{"panic", "panic: no", func(context.Context) []error { panic("no") }},
		{"goexit", "called runtime.Goexit", func(context.Context) []error { runtime.Goexit(); return nil }},
		{"timeout", "timed out after 50ms", func(ctx context.Context) []error {
			<-ctx.Done()
			return []error{ctx.Err(), ctx.Err(), fmt.Errorf("index: %w", ctx.Err())}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := new(reliable.Registry)
			r.HandleBatch("search", "index", 0, reliable.BatchProcessorFunc(func(ctx context.Context, _ []*reliable.OutboxEntry) []error { return test.fail(ctx) }))
			done := make(chan int64, n)
			r.Handle("search", "single", reliable.RecordProcessorFunc(func(_ context.Context, e *reliable.OutboxEntry) error { done <- e.ID; return nil }))
			db := open(t, testdb.New(t, testdb.SQLite), r)
			record(t, db, "a", "b", "c")
			start(t, &worker.Worker{DB: db, PollInterval: 20 * time.Millisecond, BatchSize: 10, CallbackTimeout: 50 * time.Millisecond})
			eventually(t, "all have failed once", func() bool {
				var messages []string
				err := db.Raw("SELECT error_message FROM outbox_entries WHERE attempts = 1").Scan(&messages).Error
				return err == nil && len(messages) == n && !slices.ContainsFunc(messages, func(m string) bool { return !strings.Contains(m, test.says) })
			})
			if len(done) != n {
				t.Errorf("the other processor ran for %d entries, want %d", len(done), n)
			}
		})
	}
}

// Middleware surrounds a call, not each entry; its own error fails all of them.
func TestBatchMiddleware(t *testing.T) {
	var steps []string
	trips := 0
	r := new(reliable.Registry)
	mark := func(name string) reliable.Middleware {
		return func(ctx context.Context, a reliable.Attempt, next func(context.Context) error) error {
			steps = append(steps, fmt.Sprintf("%s %s %d of %d, attempt %d", name, a.Callback, a.Entry.ID, len(a.Batch), a.Number))
			err := next(ctx)
			steps = append(steps, fmt.Sprintf("%s: %v", name, err))
			return err
		}
	}
	r.Use(mark("outer"), mark("inner"), func(ctx context.Context, _ reliable.Attempt, next func(context.Context) error) error {
		if trips++; trips == 2 {
			return reliable.Permanent(errors.New("closed"))
		}
		return next(ctx)
	})
	r.HandleBatch("search", "index", 0, reliable.BatchProcessorFunc(func(context.Context, []*reliable.OutboxEntry) []error {
		return []error{nil, reliable.Snooze(0), reliable.Snooze(0)}
	}))
	db := open(t, testdb.New(t, testdb.SQLite), r)
	record(t, db, "a", "b", "c")
	start(t, &worker.Worker{DB: db, PollInterval: 20 * time.Millisecond, BatchSize: 10})
	eventually(t, "two are dead", func() bool {
		return count(t, db, "SELECT count(*) FROM outbox_entries WHERE dead_at IS NOT NULL AND error_message = 'closed'") == 2
	})
	want := []string{
		"outer index 1 of 3, attempt 1", "inner index 1 of 3, attempt 1", "inner: 2 of 3 entries: the first: snoozed for 0s", "outer: 2 of 3 entries: the first: snoozed for 0s",
		"outer index 2 of 2, attempt 1", "inner index 2 of 2, attempt 1", "inner: closed", "outer: closed",
	}
	if !slices.Equal(steps, want) {
		t.Errorf("steps %q, want %q", steps, want)
	}
}

// What may have killed a worker is a batch of its own.
func TestSuspectsAreBatchesOfOne(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		var l calls
		r := new(reliable.Registry)
		r.HandleBatch("search", "index", 0, reliable.BatchProcessorFunc(func(_ context.Context, batch []*reliable.OutboxEntry) []error {
			l.add(batch)
			return make([]error, len(batch))
		}))
		db := open(t, testdb.New(t, d), r)
		record(t, db, "a", "b", "c", "d")
		if err := db.Exec("UPDATE outbox_entries SET suspect = true, retry_at = created_at").Error; err != nil {
			t.Fatal(err)
		}
		start(t, &worker.Worker{DB: db, PollInterval: 5 * time.Millisecond, Processor: &processors.NonOrdered{}})
		eventually(t, "all is done", func() bool { return count(t, db, left) == 0 })
		if got := fmt.Sprint(l.sizes); got != "[1 1 1 1]" {
			t.Errorf("suspects came in batches of %s, want each alone", got)
		}
	})
}

// Batches cost no more after a crash: what runs and what is not durable stays
// within the bound.
func TestBatchesKeepTheBound(t *testing.T) {
	const threads, group = 3, 10
	var started atomic.Int64
	gate := make(chan struct{}, 1)
	r := new(reliable.Registry)
	r.HandleBatch("job", "run", 0, reliable.BatchProcessorFunc(func(_ context.Context, batch []*reliable.OutboxEntry) []error {
		started.Add(int64(len(batch)))
		<-time.After(time.Second)
		return make([]error, len(batch))
	}))
	db := testdb.New(t, testdb.SQLite).Open(t)
	if err := db.Use(reliable.New(reliable.Config{Registry: r})); err != nil {
		t.Fatal(err)
	}
	f := &fake{finish: func(context.Context, int64, []reliable.Outcome) error {
		if len(gate) == 0 {
			return errors.New("the database is away")
		}
		return nil
	}}
	f.put(span(200)...)
	virtual(t, &worker.Worker{DB: db, Processor: f, Threads: threads, FinishGroup: group}, func(t *testing.T, _ func() error) {
		pass(time.Hour)
		if n := started.Load(); n > threads+2*group || n < group {
			t.Errorf("%d entries were begun while none was durable, want at most %d", n, threads+2*group)
		}
		gate <- struct{}{}
		pass(time.Hour)
		if n := len(f.durable()); n != 200 || started.Load() != 200 {
			t.Errorf("%d outcomes are durable after %d runs, want 200 and 200", n, started.Load())
		}
	})
}
