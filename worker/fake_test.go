package worker_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// fake is an entries processor without a database, for tests of the loops in
// virtual time.
type fake struct {
	claim   func(ctx context.Context) error                                    // nil: no errors
	finish  func(ctx context.Context, token int64, o []reliable.Outcome) error // nil: it is durable
	release func(ctx context.Context, token int64) error

	mu       sync.Mutex
	due      [][]*reliable.OutboxEntry // claims to hand out
	asked    int                       // calls of Claim
	token    int64
	outcomes []reliable.Outcome // durable
	released int
	lost     []chan struct{} // by token - 1
	keeping  context.Context // Run's
}

// put makes entries due, which one claim takes.
func (f *fake) put(ids ...int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	entries := make([]*reliable.OutboxEntry, len(ids))
	for i, id := range ids {
		entries[i] = &reliable.OutboxEntry{ID: id, Context: "job", EventName: "due"}
	}
	f.due = append(f.due, entries)
}

// span returns the ids from 1 to n.
func span(n int64) (ids []int64) {
	for id := range n {
		ids = append(ids, id+1)
	}
	return ids
}

// Run implements processors.EntriesProcessor.
func (f *fake) Run(ctx context.Context, _ processors.Site, ready func()) error {
	f.mu.Lock()
	f.keeping = ctx
	f.mu.Unlock()
	ready()
	<-ctx.Done()
	return nil
}

// Claim implements processors.EntriesProcessor.
func (f *fake) Claim(ctx context.Context, _ int) (processors.Claim, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if f.claim != nil {
		if err := f.claim(ctx); err != nil {
			return nil, err
		}
	}
	if len(f.due) == 0 {
		return nil, nil
	}
	f.token++
	c := &fakeClaim{fake: f, entries: f.due[0], token: f.token, at: time.Now(), lost: make(chan struct{})}
	f.due = f.due[1:]
	f.lost = append(f.lost, c.lost)
	return c, nil
}

// durable returns the outcomes that were finished, by id.
func (f *fake) durable() map[int64]reliable.Outcome {
	f.mu.Lock()
	defer f.mu.Unlock()
	found := make(map[int64]reliable.Outcome)
	for _, o := range f.outcomes {
		found[o.Entry.ID] = o
	}
	return found
}

func (f *fake) claims() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

// fakeClaim is a claim of a fake. What the interface has beyond these methods
// is not used here.
type fakeClaim struct {
	processors.Claim
	fake    *fake
	entries []*reliable.OutboxEntry
	token   int64
	at      time.Time
	lost    chan struct{}
}

func (c *fakeClaim) Entries() []*reliable.OutboxEntry { return c.entries }
func (c *fakeClaim) Token() int64                     { return c.token }
func (c *fakeClaim) At() time.Time                    { return c.at }
func (c *fakeClaim) Lost() <-chan struct{}            { return c.lost }

func (c *fakeClaim) Finish(ctx context.Context, outcomes []reliable.Outcome) error {
	if c.fake.finish != nil {
		if err := c.fake.finish(ctx, c.token, outcomes); err != nil {
			return err
		}
	}
	c.fake.mu.Lock()
	defer c.fake.mu.Unlock()
	c.fake.outcomes = append(c.fake.outcomes, outcomes...)
	return nil
}

func (c *fakeClaim) Release(ctx context.Context) error {
	if c.fake.release != nil {
		if err := c.fake.release(ctx, c.token); err != nil {
			return err
		}
	}
	c.fake.mu.Lock()
	defer c.fake.mu.Unlock()
	c.fake.released++
	return nil
}

// jobs returns a handle whose registry runs entries of a fake by run.
func jobs(t *testing.T, run func(ctx context.Context, id int64) error) *gorm.DB {
	t.Helper()
	r := new(reliable.Registry)
	r.Handle("job", "run", reliable.RecordProcessorFunc(func(ctx context.Context, e *reliable.OutboxEntry) error { return run(ctx, e.ID) }))
	db := testdb.New(t, testdb.SQLite).Open(t)
	if err := db.Use(reliable.New(reliable.Config{Registry: r})); err != nil {
		t.Fatal(err)
	}
	return db
}

// virtual runs a worker in virtual time while f runs; stop ends it and returns
// what Run returned.
func virtual(t *testing.T, w *worker.Worker, f func(t *testing.T, stop func() error)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		ran := make(chan error, 1)
		go func() { ran <- w.Run(ctx) }()
		stop := sync.OnceValue(func() error { cancel(); return <-ran })
		synctest.Wait()
		f(t, stop)
		if err := stop(); err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
	})
}

// pass lets virtual time pass, until everything waits again.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}
