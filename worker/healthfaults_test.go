package worker_test

import (
	"context"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// A goroutine that ended is not taken for one that waits: the finisher, which the
// executors wait for, or a processor's Run.
func TestDeadGoroutine(t *testing.T) {
	f := &fake{finish: func(context.Context, int64, []reliable.Outcome) error {
		runtime.Goexit()
		return nil
	}}
	w := &worker.Worker{DB: jobs(t, func(context.Context, int64) error { return nil }), Processor: f}
	virtual(t, w, func(t *testing.T, _ func() error) {
		f.put(span(10)...)
		pass(2 * time.Minute)
		if err := w.Health().Err(0); err == nil || !strings.HasPrefix(err.Error(), "finish of worker") {
			t.Errorf("Err() = %v, want the finisher", err)
		}
	})
	w = &worker.Worker{DB: jobs(t, nil), Processor: &leaving{fake: new(fake)}}
	virtual(t, w, func(t *testing.T, _ func() error) {
		pass(time.Minute)
		if err := w.Health().Err(0); err == nil || !strings.HasPrefix(err.Error(), "processor of worker") {
			t.Errorf("Err() = %v, want the processor", err)
		}
	})
}

// leaving is a fake whose Run ends too early.
type leaving struct{ *fake }

// Run implements processors.EntriesProcessor.
func (*leaving) Run(_ context.Context, _ processors.Site, ready func()) error {
	ready()
	return nil
}

// A database that does not answer keeps nobody waiting for longer than two
// seconds, and is not asked again meanwhile.
func TestProbeWithoutAnswer(t *testing.T) {
	p := &probing{fake: new(fake)}
	w := &worker.Worker{DB: jobs(t, nil), Processor: p}
	virtual(t, w, func(t *testing.T, _ func() error) {
		p.silent = make(chan struct{})
		h := w.Handler()
		begun := time.Now()
		for range 5 {
			if status, text := get(h, "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(text, "has not answered a write within 2s") {
				t.Errorf("/readyz = %d, %q, want 503", status, text)
			}
		}
		if took, n := time.Since(begun), p.asked.Load(); took != 2*time.Second || n != 1 {
			t.Errorf("five answers took %s, of %d probes, want 2s and one", took, n)
		}
		close(p.silent)
		pass(time.Second)
		for range 5 {
			if status, text := get(h, "/readyz"); status != http.StatusOK {
				t.Errorf("/readyz = %d, %q, want 200 again", status, text)
			}
		}
		if n := p.asked.Load(); n != 2 {
			t.Errorf("%d probes, want one more: it is enough for a second", n)
		}
	})
}

// probing is a fake that can be asked whether it takes writes.
type probing struct {
	*fake
	silent chan struct{}
	asked  atomic.Int64
}

// Probe implements processors.Prober.
func (p *probing) Probe(context.Context) error {
	p.asked.Add(1)
	<-p.silent
	return nil
}
