package worker_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorm-aftercommit/aftercommit/healthcheck"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// get asks a worker's handler.
func get(h http.Handler, path string) (status int, text string) {
	out := httptest.NewRecorder()
	h.ServeHTTP(out, httptest.NewRequest(http.MethodGet, path, nil))
	return out.Code, strings.TrimSpace(out.Body.String())
}

// Of eight threads, one ignores that its callback's time is over; the others
// are busy, for as long as they may, or idle. The database is down (67).
func TestOneStuckOfEight(t *testing.T) {
	var done chan struct{} // of the virtual time
	db := jobs(t, func(ctx context.Context, id int64) error {
		if id == 5 {
			<-done
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	})
	down := errors.New("the database is down")
	f := &fake{}
	f.finish = func(context.Context, int64, []reliable.Outcome) error { return down }
	f.claim = func(context.Context) error {
		if len(f.due) == 0 {
			return down
		}
		return nil
	}
	w := &worker.Worker{DB: db, Processor: f, Threads: 8, CallbackTimeout: 10 * time.Minute}
	virtual(t, w, func(t *testing.T, _ func() error) {
		done = make(chan struct{})
		f.put(1, 2, 3, 4, 5, 6)
		h := w.Handler()
		for range 60 {
			pass(10 * time.Second)
			if err := w.Health().Err(0); err != nil {
				t.Fatalf("Err() = %v while all are inside their deadlines, want nil", err)
			}
		}
		r := w.Health()
		busy := 0
		for _, thread := range r.Threads {
			if thread.State == healthcheck.Busy && thread.Work == "run" && strings.HasPrefix(thread.Name, "executor") {
				busy++
			}
		}
		if busy > 6 || busy < 1 || len(r.Threads) != 10 {
			t.Errorf("threads are %+v, want eight executors, of which at most six are busy, claim and finish", r.Threads)
		}
		pass(healthcheck.Margin + time.Second)
		err := w.Health().Err(0)
		if err == nil || !strings.Contains(err.Error(), "is stuck: busy with run for 10m1") || strings.Contains(err.Error(), "in all") || !strings.HasPrefix(err.Error(), "executor ") {
			t.Errorf("Err() = %v, want the one that is stuck", err)
		}
		if status, text := get(h, "/livez"); status != http.StatusServiceUnavailable || !strings.Contains(text, "is stuck") {
			t.Errorf("/livez = %d, %q, want 503 and the thread", status, text)
		}
		close(done)
		synctest.Wait()
		if status, text := get(h, "/livez"); status != http.StatusOK || !strings.HasPrefix(text, "worker ") {
			t.Errorf("/livez = %d, %q, want 200 again", status, text)
		}
		f.mu.Lock()
		close(f.lost[0]) // what could not be finished
		f.mu.Unlock()
	})
}

// Executors that wait until what is done is durable show themselves, however
// long the database is down, and so does the one that writes it (67).
func TestWaitingForTheDatabaseIsNotStuck(t *testing.T) {
	f := &fake{finish: func(context.Context, int64, []reliable.Outcome) error { return errors.New("down") }}
	f.put(span(20)...)
	w := &worker.Worker{DB: jobs(t, func(context.Context, int64) error { return nil }), Processor: f, Threads: 3, FinishGroup: 2}
	virtual(t, w, func(t *testing.T, _ func() error) {
		for range 200 {
			pass(7 * time.Second)
			if err := w.Health().Err(0); err != nil {
				t.Fatalf("Err() = %v, want nil", err)
			}
		}
		if text := w.Health().String(); !strings.Contains(text, "3 waiting") {
			t.Errorf("Health() = %s, want three that wait", text)
		}
		f.mu.Lock()
		close(f.lost[0])
		f.mu.Unlock()
	})
}

// Long pauses, no work, a drain: nothing of that is stuck. A claim that does not
// come back is (67).
func TestIdleAndDraining(t *testing.T) {
	var hang, begun chan struct{} // of the virtual time
	db := jobs(t, func(ctx context.Context, _ int64) error {
		begun <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	var hangs atomic.Bool
	f := &hanging{new(fake), func() {
		if hangs.Load() {
			<-hang
		}
	}}
	w := &worker.Worker{DB: db, Processor: f, Threads: 2, PollInterval: time.Hour, IdleMultiplier: 5, ShutdownTimeout: 10 * time.Minute, CallbackTimeout: time.Hour}
	if status, text := get(new(worker.Worker).Handler(), "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(text, "is starting") {
		t.Errorf("/readyz = %d, %q before Run, want 503", status, text)
	}
	virtual(t, w, func(t *testing.T, stop func() error) {
		h := w.Handler()
		hang, begun = make(chan struct{}), make(chan struct{}, 1)
		for range 30 {
			pass(29 * time.Minute)
			if err := w.Health().Err(0); err != nil {
				t.Fatalf("Err() = %v while nothing is to be done, want nil", err)
			}
		}
		if status, text := get(h, "/readyz"); status != http.StatusOK || !strings.HasSuffix(text, "is running: 0 busy, 0 waiting, 2 idle") {
			t.Errorf("/readyz = %d, %q, want 200", status, text)
		}
		hangs.Store(true)
		pass(6 * time.Hour)
		if err := w.Health().Err(0); err == nil || !strings.HasPrefix(err.Error(), "claim of worker") {
			t.Errorf("Err() = %v, want the claim", err)
		}
		hangs.Store(false)
		f.put(1)
		close(hang)
		<-begun
		stopped := make(chan struct{})
		go func() { defer close(stopped); _ = stop() }()
		pass(5 * time.Minute)
		if err := w.Health().Err(0); err != nil {
			t.Errorf("Err() = %v while it drains, want nil", err)
		}
		if status, text := get(h, "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(text, "is draining") {
			t.Errorf("/readyz = %d, %q, want 503 while it drains", status, text)
		}
		<-stopped
		if status, text := get(h, "/livez"); status != http.StatusServiceUnavailable || !strings.Contains(text, "has ended") {
			t.Errorf("/livez = %d, %q, want 503 after the end", status, text)
		}
	})
}

// hanging is a fake whose Claim may hang.
type hanging struct {
	*fake
	wait func()
}

// Claim implements processors.EntriesProcessor.
func (h *hanging) Claim(ctx context.Context, n int) (processors.Claim, error) {
	h.wait()
	return h.fake.Claim(ctx, n)
}

// What a processor tells of its loops counts, until it says that they ended (67).
func TestLoopsOfTheProcessor(t *testing.T) {
	p := &beating{fake: new(fake), beat: make(chan func(string, time.Duration), 1)}
	w := &worker.Worker{DB: jobs(t, nil), Processor: p}
	virtual(t, w, func(t *testing.T, _ func() error) {
		beat := <-p.beat
		beat("lease", time.Minute)
		pass(50 * time.Second)
		if err := w.Health().Err(0); err != nil {
			t.Errorf("Err() = %v, want nil", err)
		}
		pass(20 * time.Second)
		if err := w.Health().Err(0); err == nil || !strings.HasPrefix(err.Error(), "lease of worker") {
			t.Errorf("Err() = %v, want the loop", err)
		}
		beat("lease", 0)
		pass(time.Second)
		if err := w.Health().Err(0); err != nil {
			t.Errorf("Err() = %v, want nil after the loop's end", err)
		}
	})
}

// beating is a fake that hands on what it is given to beat.
type beating struct {
	*fake
	beat chan func(string, time.Duration)
}

// Run implements processors.EntriesProcessor.
func (b *beating) Run(ctx context.Context, site processors.Site, ready func()) error {
	b.beat <- site.Beat
	return b.fake.Run(ctx, site, ready)
}

// What an executor shows is its callback, and what that may take. Meanwhile
// nobody else has anything to do, and shows that (67).
func TestDeadlineOfTheCallback(t *testing.T) {
	db := jobs(t, func(ctx context.Context, id int64) error {
		if id == 1 { // by which the worker learns that it need not claim ahead
			<-time.After(time.Second)
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	})
	f := new(fake)
	f.put(1, 2)
	w := &worker.Worker{DB: db, Processor: f, CallbackTimeout: time.Hour}
	virtual(t, w, func(t *testing.T, _ func() error) {
		pass(2 * time.Second)
		for _, thread := range w.Health().Threads {
			if thread.Name != "executor 1" {
				continue
			}
			if limit := thread.Deadline.Sub(thread.Since); thread.State != healthcheck.Busy || thread.Work != "run" || limit != time.Hour+healthcheck.Margin {
				t.Errorf("the executor shows %+v, want run, for an hour and the margin", thread)
			}
			pass(59 * time.Minute) // the claimer waits for the executor
			if err := w.Health().Err(0); err != nil {
				t.Errorf("Err() = %v, want nil", err)
			}
			return
		}
		t.Error("there is no executor 1")
	})
}

func TestMetrics(t *testing.T) {
	w := new(worker.Worker)
	if status, text := get(w.Handler(), "/metrics"); status != http.StatusNotFound || !strings.Contains(text, "set Worker.Metrics") {
		t.Errorf("/metrics = %d, %q, want 404 and what to do", status, text)
	}
	w.Metrics = http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) { _, _ = out.Write([]byte("outbox_pending 7\n")) })
	if status, text := get(w.Handler(), "/metrics"); status != http.StatusOK || text != "outbox_pending 7" {
		t.Errorf("/metrics = %d, %q, want what it serves", status, text)
	}
	if status, _ := get(w.Handler(), "/other"); status != http.StatusNotFound {
		t.Errorf("/other = %d, want 404", status)
	}
}
