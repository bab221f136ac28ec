package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/gorm-aftercommit/aftercommit/healthcheck"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// probeTimeout bounds the write by which /readyz looks whether the database
// takes writes, probeEvery how often there is one.
const (
	probeTimeout = 2 * time.Second
	probeEvery   = time.Second
)

// health is what others may ask of a worker at any time.
type health struct {
	once  sync.Once
	board *board

	mu     sync.Mutex
	probe  *probe
	prober processors.Prober // nil before the start, and if the processor is none
	failed func(error)       // told what a probe came to
}

// probe is a look at the database, of which there is one at a time.
type probe struct {
	begun time.Time
	done  chan struct{}
	err   error // once done is closed
}

// state returns the worker's state, which begins with the first call.
func (w *Worker) state() *health {
	w.health.once.Do(func() { w.health.board = newBoard(w.startTimeout()) })
	return &w.health
}

// begun gives the worker the board of the program that has begun to start it.
// If it has one already, that takes the other's name. It returns the worker's.
func (w *Worker) begun(b *board) *board {
	w.health.once.Do(func() { w.health.board = b })
	own := w.health.board
	own.mu.Lock()
	defer own.mu.Unlock()
	own.id = b.id
	return own
}

func (w *Worker) startTimeout() time.Duration { return cmp.Or(w.StartTimeout, DefaultStartTimeout) }

// Health returns what each of the worker's threads does and until when it
// should be done with that; Report.Err says whether one is stuck. It asks
// nobody but the threads, and may be called at any time.
func (w *Worker) Health() *healthcheck.Report { return w.state().board.report() }

// Handler returns a handler for probes and scrapes, which may be served before
// Run is called, and after it:
//
//	GET /livez    200 if every thread is inside its deadline, 503 if not
//	GET /readyz   200 if the worker takes work and the database its writes
//	GET /metrics  what the field Metrics serves, 404 without it
//
// Each answers with one line that says why. /livez does not ask the database,
// since a worker that is started again is no help to that. /readyz writes, by
// [processors.Prober] if the processor is one, once a second at most, and waits
// two seconds for the answer.
func (w *Worker) Handler() http.Handler {
	return w.state().handler(func(out http.ResponseWriter, r *http.Request) {
		if w.Metrics == nil {
			http.Error(out, "there are no metrics: set Worker.Metrics to a handler that serves them", http.StatusNotFound)
			return
		}
		w.Metrics.ServeHTTP(out, r)
	})
}

func (h *health) handler(metrics http.HandlerFunc) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(out http.ResponseWriter, _ *http.Request) {
		r := h.board.report()
		answer(out, r, r.Err(0))
	})
	mux.HandleFunc("GET /readyz", func(out http.ResponseWriter, request *http.Request) {
		r := h.board.report()
		answer(out, r, h.ready(request.Context(), r))
	})
	mux.HandleFunc("GET /metrics", metrics)
	return mux
}

// answer writes what a probe came to: a line and a status.
func answer(out http.ResponseWriter, r *healthcheck.Report, err error) {
	out.Header().Set("Cache-Control", "no-store")
	if err != nil {
		http.Error(out, reliable.Redact(err.Error()), http.StatusServiceUnavailable)
		return
	}
	out.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = fmt.Fprintln(out, r) // who asked may be gone
}

// The reasons of /readyz that concern the database. Its own words may hold what
// is nobody's business who can reach the port: the monitor is told.
var (
	errNoWrites = errors.New("the database does not take the worker's writes: ErrorOccurred of the step probe says why")
	errNoAnswer = errors.New("the database has not answered a write within " + probeTimeout.String())
)

// ready returns why a worker does not take work.
func (h *health) ready(ctx context.Context, r *healthcheck.Report) error {
	if err := r.Err(0); err != nil {
		return err
	}
	if err := r.Ready(); err != nil {
		return err
	}
	h.mu.Lock()
	prober := h.prober
	h.mu.Unlock()
	if prober == nil {
		return nil
	}
	p := h.look(prober) //nolint:contextcheck // others wait for it, too
	limit := time.NewTimer(probeTimeout - min(time.Since(p.begun), probeTimeout))
	defer limit.Stop()
	select {
	case <-p.done:
		if p.err != nil {
			return errNoWrites
		}
		return nil
	case <-limit.C:
		return errNoAnswer
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// look returns the present look at the database, or begins one.
func (h *health) look(prober processors.Prober) *probe {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.probe != nil {
		select {
		case <-h.probe.done:
			if time.Since(h.probe.begun) < probeEvery {
				return h.probe
			}
		default:
			return h.probe // however long it takes: they must not pile up
		}
	}
	p := &probe{begun: time.Now(), done: make(chan struct{})}
	h.probe = p
	go func() {
		defer close(p.done)
		ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
		defer cancel()
		if p.err = prober.Probe(ctx); p.err != nil {
			h.failed(p.err)
		}
	}()
	return p
}

// start notes that the worker has started, and who can be asked whether the
// database takes writes.
func (h *health) start(p processors.EntriesProcessor, failed func(error)) {
	h.mu.Lock()
	h.prober, _ = p.(processors.Prober)
	h.failed = failed
	h.mu.Unlock()
	h.board.enter(healthcheck.Running)
}

// settle waits until nobody looks at the database any more.
func (h *health) settle() {
	h.mu.Lock()
	h.prober = nil
	p := h.probe
	h.mu.Unlock()
	if p == nil {
		return
	}
	limit := time.NewTimer(probeTimeout)
	defer limit.Stop()
	select {
	case <-p.done:
	case <-limit.C:
	}
}
