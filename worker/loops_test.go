package worker_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// While nothing can be made durable, executors stop at two groups: that is the
// bound of what a crash repeats.
func TestExecutorsWaitForTheFinisher(t *testing.T) {
	const threads, group = 4, 5
	var ran atomic.Int64
	gate := make(chan struct{}, 1)
	db := jobs(t, func(context.Context, int64) error { ran.Add(1); return nil })
	f := &fake{finish: func(context.Context, int64, []reliable.Outcome) error {
		if len(gate) == 0 {
			return errors.New("the database is away")
		}
		return nil
	}}
	f.put(span(100)...)
	virtual(t, &worker.Worker{DB: db, Processor: f, Threads: threads, FinishGroup: group}, func(t *testing.T, _ func() error) {
		pass(time.Hour)
		if n := ran.Load(); n > threads+2*group || n < 2*group {
			t.Errorf("%d callbacks ran while none was durable, want %d to %d", n, 2*group, threads+2*group)
		}
		gate <- struct{}{}
		pass(time.Hour)
		if n := len(f.durable()); n != 100 || ran.Load() != 100 {
			t.Errorf("%d outcomes are durable after %d runs, want 100 and 100", n, ran.Load())
		}
	})
}

// What is done becomes durable while the rest of its claim still runs.
func TestGroupsAreDurableBeforeTheClaimEnds(t *testing.T) {
	db := jobs(t, func(ctx context.Context, id int64) error {
		if id == 1 {
			<-ctx.Done() // at its timeout
		}
		return nil
	})
	f := &fake{}
	f.put(span(20)...)
	virtual(t, &worker.Worker{DB: db, Processor: f, Threads: 2, FinishGroup: 5}, func(t *testing.T, _ func() error) {
		pass(worker.DefaultFinishDelay)
		if n := len(f.durable()); n != 19 {
			t.Errorf("%d outcomes are durable while an entry of the claim runs, want 19", n)
		}
	})
}

// A worker that nobody wakes looks for work by itself, also after it found
// none for long, and after errors.
func TestPollFindsWork(t *testing.T) {
	const poll = time.Second
	db := jobs(t, func(context.Context, int64) error { return nil })
	broken := 0
	f := &fake{claim: func(context.Context) error {
		if broken > 0 {
			broken--
			return errors.New("the database is away")
		}
		return nil
	}}
	virtual(t, &worker.Worker{DB: db, Processor: f, PollInterval: poll}, func(t *testing.T, _ func() error) {
		pass(time.Hour)
		if n := f.claims(); n > 3700*2 {
			t.Errorf("%d claims in an idle hour, want about one per %s", n, poll)
		}
		for i := range 3 {
			f.put(int64(i + 1))
			pass(2 * poll)
			if n := len(f.durable()); n != i+1 {
				t.Fatalf("%d entries done %s after the last was committed, want %d", n, 2*poll, i+1)
			}
			f.mu.Lock()
			broken = 20
			f.mu.Unlock()
			pass(5 * time.Minute) // it tries until the database is back
		}
	})
}

// A drain that takes too long cancels the callbacks; what they came to is made
// durable, and the rest given back, all with contexts that still live and end,
// under a lease that is still kept.
func TestDrainFinishesUnderTheLease(t *testing.T) {
	var w *worker.Worker
	db := jobs(t, func(ctx context.Context, id int64) error {
		<-ctx.Done()
		if id == 1 {
			return nil // it has done its work all the same
		}
		return ctx.Err()
	})
	f := &fake{}
	usable := func(ctx context.Context, what string) {
		if _, ends := ctx.Deadline(); !ends || ctx.Err() != nil {
			t.Errorf("%s with a context that has ended or never does: %v", what, ctx.Err())
		}
		if f.keeping.Err() != nil {
			t.Errorf("%s after the processor was told to stop renewing", what)
		}
	}
	f.finish = func(ctx context.Context, _ int64, _ []reliable.Outcome) error { usable(ctx, "Finish"); return nil }
	f.release = func(ctx context.Context, _ int64) error { usable(ctx, "Release"); return nil }
	f.put(span(10)...)
	w = &worker.Worker{DB: db, Processor: f, Threads: 2, ShutdownTimeout: time.Minute, CallbackTimeout: time.Hour}
	virtual(t, w, func(t *testing.T, stop func() error) {
		begun := time.Now()
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took < time.Minute {
			t.Errorf("the drain took %s, want all of ShutdownTimeout", took)
		}
		done := f.durable()
		if done[1].State != reliable.StateDone || done[2].State != reliable.StateRetry || !done[2].Interrupted || done[2].Attempts != 0 || f.released != 1 {
			t.Errorf("outcomes %+v, %d releases; want 1 done, 2 interrupted with nothing burnt, the rest given back", done, f.released)
		}
		if f.keeping.Err() == nil {
			t.Error("Run() returned while the processor ran")
		}
	})
}

// A callback that ignores its context keeps its executor and its entry for as
// long as it runs; others go on. Then it has failed, by its timeout.
func TestDeafCallbackKeepsItsEntry(t *testing.T) {
	gates := make(chan chan struct{}, 1)
	db := jobs(t, func(ctx context.Context, id int64) error {
		if id == 1 {
			gate := make(chan struct{})
			gates <- gate
			<-gate
			return ctx.Err()
		}
		return nil
	})
	f := &fake{}
	f.put(span(10)...)
	virtual(t, &worker.Worker{DB: db, Processor: f, Threads: 2, CallbackTimeout: time.Second}, func(t *testing.T, _ func() error) {
		pass(24 * time.Hour)
		if done := f.durable(); len(done) != 9 || done[1].Entry != nil {
			t.Errorf("%d outcomes while the callback runs, want the 9 of the others: %+v", len(done), done)
		}
		close(<-gates)
		pass(time.Second)
		if o := f.durable()[1]; o.State != reliable.StateRetry || o.Attempts != 1 || !strings.Contains(o.ErrorMessage, "timed out after 1s") {
			t.Errorf("outcome %+v, want a failure that tells of the timeout", o)
		}
	})
}

// A finish whose answer is an error is repeated, with the same outcomes, until
// it is known; no callback runs again for it.
func TestFinishIsRepeatedUntilKnown(t *testing.T) {
	var ran, tries atomic.Int64
	db := jobs(t, func(context.Context, int64) error { ran.Add(1); return nil })
	f := &fake{finish: func(_ context.Context, _ int64, o []reliable.Outcome) error {
		if len(o) != 3 {
			t.Errorf("a finish of %d outcomes, want the same 3", len(o))
		}
		if tries.Add(1) < 30 {
			return errors.New("no answer")
		}
		return nil
	}}
	f.put(span(3)...)
	virtual(t, &worker.Worker{DB: db, Processor: f}, func(t *testing.T, _ func() error) {
		pass(time.Hour)
		if n := len(f.durable()); n != 3 || ran.Load() != 3 || tries.Load() != 30 {
			t.Errorf("%d outcomes durable after %d runs and %d tries, want 3, 3, 30", n, ran.Load(), tries.Load())
		}
	})
}

// A lost lease cancels what runs, with that cause, and drops what has not
// begun; nothing of it is finished or given back, no attempt is burnt, and the
// worker goes on with other claims.
func TestLostLeaseStopsItsCallbacks(t *testing.T) {
	causes := make(chan error, 10)
	db := jobs(t, func(ctx context.Context, id int64) error {
		if id < 100 {
			<-ctx.Done()
			causes <- context.Cause(ctx)
			return ctx.Err()
		}
		return nil
	})
	f := &fake{}
	f.put(span(10)...)
	virtual(t, &worker.Worker{DB: db, Processor: f, Threads: 2, CallbackTimeout: time.Hour}, func(t *testing.T, _ func() error) {
		f.put(100)
		close(f.lost[0])
		pass(time.Minute)
		for range 2 {
			if cause := <-causes; !errors.Is(cause, reliable.ErrLeaseLost) {
				t.Errorf("a callback's context ended with %v, want ErrLeaseLost", cause)
			}
		}
		synctest.Wait()
		done := f.durable()
		if len(done) != 1 || done[100].Entry == nil || len(causes) != 0 || f.released != 0 {
			t.Errorf("outcomes %+v, %d more callbacks, %d releases; want only that of the other claim", done, len(causes), f.released)
		}
	})
}
