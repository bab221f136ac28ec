package worker_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// A drain cuts a key where it is: what runs is interrupted, what follows is
// given back, and counted.
func TestDrainOfChains(t *testing.T) {
	p := &table{policy: reliable.KeyPark}
	for range 20 {
		p.put("a")
	}
	for range 3 {
		p.put("b")
	}
	db := jobs(t, p.works(40*time.Second, nil))
	plugin, err := reliable.From(db)
	if err != nil {
		t.Fatal(err)
	}
	stopped := make(chan int, 1)
	defer reliable.Subscribe(plugin.Monitor(), func(e *reliable.Stopped) { stopped <- e.Released })()
	w := &worker.Worker{DB: db, Processor: p, Threads: 2, BatchSize: 100, ShutdownTimeout: 10 * time.Second}
	virtual(t, w, func(t *testing.T, stop func() error) {
		pass(time.Minute) // the second of each key runs
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		p.judge(t, 1, 21)
		p.look(func() {
			for _, r := range p.rows {
				if r.holder != nil {
					t.Errorf("entry %d is still held", r.ID)
				}
			}
			if p.gave != 19 {
				t.Errorf("%d entries were given back, want 18 of one key and 1 of the other", p.gave)
			}
		})
		if n := p.starts(span(23)...); n != 4 {
			t.Errorf("%d runs, want 4", n)
		}
	})
	if n := <-stopped; n != 19 {
		t.Errorf("Stopped tells of %d entries given back, want 19", n)
	}
}

// A head that ignores its context keeps its key to itself: what follows does
// not begin before that has returned.
func TestDeafHeadKeepsItsKey(t *testing.T) {
	gate := make(chan chan struct{}, 1)
	p := &table{policy: reliable.KeyPark}
	w := &worker.Worker{Processor: p, BatchSize: 100, PollInterval: time.Minute, Threads: 2, CallbackTimeout: time.Second, DB: jobs(t, func(ctx context.Context, id int64) error {
		p.begin(id)
		defer p.end(id, ctx.Err() == nil)
		if id == 1 && p.starts(1) == 1 {
			deaf := make(chan struct{})
			gate <- deaf
			<-deaf
		}
		return ctx.Err()
	})}
	for range 5 {
		p.put("a")
	}
	p.put("b")
	virtual(t, w, func(t *testing.T, _ func() error) {
		pass(24 * time.Hour)
		p.judge(t, 6)
		if n := p.starts(2, 3, 4, 5); n != 0 {
			t.Errorf("%d runs of what follows a callback that still runs, want none", n)
		}
		close(<-gate)
		pass(time.Hour)
		p.judge(t, span(6)...)
	})
}

// With the lease, all of a key is lost, and is another claim's.
func TestLostChains(t *testing.T) {
	p := &table{policy: reliable.KeyPark}
	for range 10 {
		p.put("a")
		p.put("")
	}
	w := &worker.Worker{Processor: p, BatchSize: 100, PollInterval: time.Second, Threads: 2, DB: jobs(t, p.works(40*time.Second, nil))}
	virtual(t, w, func(t *testing.T, _ func() error) {
		for range 3 {
			pass(time.Minute)
			p.lose()
		}
		pass(time.Hour)
		p.judge(t, span(20)...)
		p.look(func() {
			if len(p.claims) < 4 {
				t.Errorf("%d claims, want at least 4", len(p.claims))
			}
		})
	})
}

// A batch processor never gets two entries of a key in one call.
func TestBatchesOfHeads(t *testing.T) {
	p := &table{policy: reliable.KeyPark}
	for range 10 {
		for _, key := range []string{"a", "b", "c", "d"} {
			p.put(key)
		}
	}
	var mu sync.Mutex
	var sizes []int
	r := new(reliable.Registry)
	r.HandleBatch("job", "run", 0, reliable.BatchProcessorFunc(func(_ context.Context, batch []*reliable.OutboxEntry) []error {
		for _, e := range batch {
			p.begin(e.ID)
		}
		<-time.After(time.Second)
		for _, e := range batch {
			p.end(e.ID, true)
		}
		mu.Lock()
		defer mu.Unlock()
		sizes = append(sizes, len(batch))
		return make([]error, len(batch))
	}))
	db := testdb.New(t, testdb.SQLite).Open(t)
	if err := db.Use(reliable.New(reliable.Config{Registry: r})); err != nil {
		t.Fatal(err)
	}
	virtual(t, &worker.Worker{DB: db, Processor: p, Threads: 1, BatchSize: 100}, func(t *testing.T, _ func() error) {
		pass(time.Hour)
		synctest.Wait()
		p.judge(t, span(40)...)
		mu.Lock()
		defer mu.Unlock()
		if len(sizes) != 10 || slices.Min(sizes) != 4 {
			t.Errorf("calls of %v, want 10 of the 4 keys each", sizes)
		}
	})
}
