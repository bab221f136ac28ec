// Package worker runs what entries owe: one claimer feeds THREADS executors,
// and a finisher makes what became of the entries durable, in groups.
package worker

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Defaults of Worker.
const (
	DefaultThreads         = 1
	DefaultPollInterval    = 500 * time.Millisecond
	DefaultShutdownTimeout = 25 * time.Second
	DefaultStartTimeout    = 2 * time.Minute
	DefaultFinishGroup     = 500
	DefaultFinishDelay     = 10 * time.Millisecond
	MaxBatchSize           = 1000
)

// Worker works on the entries of one database. DB is required; the zero value
// of every other field is its usual setting. A Worker runs once.
type Worker struct {
	// DB is the application's handle, with the plugin installed: registry,
	// monitor and tables come from it.
	DB *gorm.DB

	// Own is where the worker takes the connections from that it keeps for
	// itself, [OwnConnections] at most. Nil opens them as DB's were opened, but
	// apart from DB's pool. If DB was made with a connection instead of an
	// address (Conn of GORM's dialectors), that can't be: then they are taken
	// out of DB's pool, and callbacks that hold the rest keep the worker from
	// replacing a broken one; its lease may be lost. On SQLite they are DB's.
	Own *sql.DB

	// NoListen keeps the worker from waiting for a NOTIFY on PostgreSQL, which
	// wakes it when another process commits entries: it polls only.
	NoListen bool

	// Processor decides which entries come. Nil means &processors.NonOrdered{}.
	Processor processors.EntriesProcessor

	// Threads is how many callbacks run at the same time. Zero means one; one
	// works in the order of the entries.
	Threads int

	// BatchSize is how many entries one claim takes, at most [MaxBatchSize].
	// Zero means as many as were worked in a quarter of a second.
	BatchSize int

	// PollInterval is how long the worker waits for work when nobody wakes it.
	// After a claim that found nothing, it waits IdleMultiplier times as long;
	// zero means one.
	PollInterval   time.Duration
	IdleMultiplier int

	// CallbackTimeout bounds callbacks without a Timeout. Zero means
	// [reliable.DefaultTimeout].
	CallbackTimeout time.Duration

	// ShutdownTimeout is how long running callbacks may take once the worker
	// drains, before their contexts are cancelled.
	ShutdownTimeout time.Duration

	// StartTimeout is how long the worker may take to register with the
	// database before it counts as stuck: from Run, and from the first call of
	// Handler or Health to Run. Zero means [DefaultStartTimeout].
	StartTimeout time.Duration

	// HeartbeatFile is where the worker writes its heartbeat, which command
	// healthcheck reads, once a second: a file, or a directory in which each
	// worker has one of its own. Empty means nowhere. Run returns an error if it
	// can't be written at the start, or is another worker's; later,
	// ErrorOccurred tells. The file goes when the worker has ended.
	HeartbeatFile string

	// Metrics, if set, is served by [Worker.Handler] at /metrics.
	Metrics http.Handler

	// FinishGroup is how many entries are made durable at once, FinishDelay
	// how long the first of them waits for the others at most. Executors wait
	// when two groups are not durable: at most Threads + 2 × FinishGroup
	// entries run again after a crash.
	FinishGroup int
	FinishDelay time.Duration

	// NoBreaker lets callbacks run however they fail, whatever their Breaker
	// says. What an operator paused rests all the same.
	NoBreaker bool

	plugin *reliable.Plugin
	id     string
	own    *connections
	health health
	pulse  *pulse // Main's
}

// defaults fills in what is not set, and reports all that makes no sense.
func (w *Worker) defaults() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("worker: "+format, args...)) }
	for _, n := range []struct {
		name        string
		value, most int
	}{{"Threads", w.Threads, 10_000}, {"BatchSize", w.BatchSize, MaxBatchSize}, {"FinishGroup", w.FinishGroup, 100_000}, {"IdleMultiplier", w.IdleMultiplier, 1000}} {
		if n.value < 0 || n.value > n.most {
			wrong("%s is %d: want 1 to %d, or 0 for the usual", n.name, n.value, n.most)
		}
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"PollInterval", w.PollInterval}, {"CallbackTimeout", w.CallbackTimeout}, {"ShutdownTimeout", w.ShutdownTimeout}, {"StartTimeout", w.StartTimeout}, {"FinishDelay", w.FinishDelay}} {
		if d.value < 0 {
			wrong("%s is %s: want more than 0, or 0 for the usual", d.name, d.value)
		}
	}
	plugin, err := reliable.From(w.DB)
	if err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	w.plugin, w.id = plugin, w.state().board.id
	w.Threads = cmp.Or(w.Threads, DefaultThreads)
	w.PollInterval = cmp.Or(w.PollInterval, DefaultPollInterval)
	w.IdleMultiplier = cmp.Or(w.IdleMultiplier, 1)
	w.ShutdownTimeout = cmp.Or(w.ShutdownTimeout, DefaultShutdownTimeout)
	w.FinishGroup = cmp.Or(w.FinishGroup, DefaultFinishGroup)
	w.FinishDelay = cmp.Or(w.FinishDelay, DefaultFinishDelay)
	if w.Processor == nil {
		w.Processor = &processors.NonOrdered{}
	}
	return nil
}

// Run works until ctx is done. Then it claims no more, gives running callbacks
// up to ShutdownTimeout, makes what they came to durable, gives the rest back
// without burning an attempt, and returns nil. An error before the first claim
// is returned; later ones go to the monitor and the work goes on. A callback
// that ignores its cancelled context is left behind, and Run returns an error
// that says so: the process should end.
func (w *Worker) Run(ctx context.Context) error {
	state := w.state()
	defer state.board.end()
	if err := w.defaults(); err != nil {
		return err
	}
	if w.pulse == nil {
		trouble := func(err error) { w.trouble("heartbeat file", err) }
		p, err := newPulse(state.board, w.HeartbeatFile, trouble)
		if err != nil {
			return fmt.Errorf("worker: %w", err)
		}
		defer p.close(trouble)
		state.board.slot(startLoop).busy("", w.startTimeout())
	}
	own, err := w.connect(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("worker: %w", err)
	}
	defer own.close()
	w.own = own
	monitor := w.plugin.Monitor()
	keeping, stopKeeping := context.WithCancel(context.WithoutCancel(ctx))
	defer stopKeeping()
	ready, kept := make(chan struct{}), make(chan error, 1)
	go func() {
		site := processors.Site{DB: w.DB, Plugin: w.plugin, Worker: w.id, Threads: w.Threads, Own: own.pool, Pooled: own.pooled, Beat: state.board.beat}
		err := w.Processor.Run(keeping, site, func() { close(ready) })
		if keeping.Err() == nil {
			state.board.slot(keepLoop) // which will not show itself
		}
		kept <- err
	}()
	select {
	case <-ready:
	case err := <-kept:
		return fmt.Errorf("worker: %w", err)
	case <-ctx.Done():
		stopKeeping()
		<-kept //nolint:errcheck // what was broken off is no failure
		return nil
	}
	state.start(w.Processor, func(err error) { w.trouble("probe", err) })
	monitor.Publish(&reliable.Started{Worker: w.id, Threads: w.Threads, Processor: w.processor()})
	s := newShift(w) //nolint:contextcheck // what runs is finished after ctx is done
	released, err := s.run(ctx)
	state.settle()
	stopKeeping()
	err = errors.Join(err, <-kept)
	monitor.Publish(&reliable.Stopped{Worker: w.id, Released: released, Err: err})
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_ = monitor.Flush(flush) // a slow subscriber does not fail the worker
	return err
}

// keyPolicy returns what becomes of causality keys; empty without an order.
func (w *Worker) keyPolicy() reliable.KeyPolicy {
	if ordered, ok := w.Processor.(processors.KeyOrdered); ok {
		return ordered.KeyPolicy()
	}
	return ""
}

// processor returns the name of the processor.
func (w *Worker) processor() string {
	if named, ok := w.Processor.(interface{ Name() string }); ok {
		return named.Name()
	}
	if w.keyPolicy() == "" {
		return "non_ordered"
	}
	return "ordered"
}

// trouble tells the monitor of an error that the worker survives.
func (w *Worker) trouble(step string, err error) {
	w.plugin.Monitor().Publish(&reliable.ErrorOccurred{Worker: w.id, Step: step, Err: err})
}
