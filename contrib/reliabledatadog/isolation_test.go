package reliabledatadog_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/DataDog/datadog-go/v5/statsd"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/contrib/reliabledatadog"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

type order struct {
	ID   int64
	Note string
}

// shop is a database with a worker that runs one callback, which fails for the
// note "fail".
type shop struct {
	*gorm.DB
	plugin *reliable.Plugin
	ran    chan string // notes
}

func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{DB: testdb.New(t, testdb.SQLite).Open(t), ran: make(chan string, 100)}
	r := new(reliable.Registry)
	reliable.AfterCreateCommit(r, "receipt", func(_ context.Context, c reliable.Change[order]) error {
		s.ran <- c.After().Note
		if strings.HasPrefix(c.After().Note, "fail") {
			return reliable.Permanent(&secret{})
		}
		return nil
	})
	s.plugin = reliable.New(reliable.Config{Registry: r})
	if err := errors.Join(s.AutoMigrate(&order{}), s.Use(s.plugin), migrations.Up(t.Context(), s.DB)); err != nil {
		t.Fatal(err)
	}
	return s
}

// work runs a worker until the notes of new orders have run.
func (s *shop) work(t *testing.T, until func(), notes ...string) {
	t.Helper()
	w := &worker.Worker{DB: s.DB, PollInterval: 10 * time.Millisecond, Processor: &processors.NonOrdered{Housekeeping: processors.Housekeeping{Every: 20 * time.Millisecond}}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	for _, note := range notes {
		if err := s.Create(&order{Note: note}).Error; err != nil {
			t.Fatal(err)
		}
	}
	for range notes {
		select {
		case <-s.ran:
		case <-time.After(20 * time.Second):
			t.Fatal("the callback did not run within 20 s")
		}
	}
	until()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run() = %v", err)
	}
}

// What a worker does and measures comes to the agent, with no more than the
// worker's end, and nothing of what is in its rows.
func TestWorker(t *testing.T) {
	agent := listen(t)
	s := newShop(t)
	pool, err := s.DB.DB()
	if err != nil {
		t.Fatal(err)
	}
	stop, err := reliabledatadog.Metrics{Pools: map[string]*sql.DB{"app": pool}}.Subscribe(s.plugin.Monitor())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stop(t.Context()) }()
	latency, dead := make(chan struct{}, 1000), make(chan struct{}, 1000)
	reliable.Subscribe(s.plugin.Monitor(), func(e *reliable.LatencyMeasured) {
		if e.Maximum > 0 {
			latency <- struct{}{}
		}
	})
	reliable.Subscribe(s.plugin.Monitor(), func(e *reliable.OutboxMeasured) {
		if e.Dead.N == 1 {
			dead <- struct{}{}
		}
	})
	s.work(t, func() { <-latency; <-dead }, canary, "fail "+canary)
	bytes, metrics := agent.await(t)
	if strings.Contains(bytes, canary) {
		t.Errorf("the sink got %s, want nothing secret", bytes)
	}
	kind := "context:gorm,event:order_created,model:order"
	if !slices.ContainsFunc(metrics, func(m metric) bool { return m.name == "reliable.latency.maximum" && m.value > 0 }) {
		t.Errorf("no latency in %v", metrics)
	}
	for _, want := range []metric{
		{"reliable.worker.started", "c", "processor:non_ordered", 1},
		{"reliable.worker.stopped", "c", "clean:true", 1},
		{"reliable.entry.processed", "c", kind, 1},
		{"reliable.entry.died", "c", "context:gorm,error:reliabledatadog_test.secret,event:order_created,model:order", 1},
		{"reliable.callback.failed", "c", "callback:receipt,context:gorm,error:reliabledatadog_test.secret,event:order_created,final:true,model:order", 1},
		{"reliable.workers", "g", "", 1},
		{"reliable.entries.dead", "g", "", 1},
		{"reliable.pool.limit", "g", "pool:app", float64(pool.Stats().MaxOpenConnections)},
	} {
		if !slices.Contains(metrics, want) {
			t.Errorf("missing: %s, of %v", want, metrics)
		}
	}
}

// hanging is a client whose calls do not return until it is let go.
type hanging struct {
	statsd.NoOpClient
	called, release chan struct{}
}

func (h *hanging) Count(string, int64, []string, float64) error {
	select {
	case h.called <- struct{}{}:
	default:
	}
	<-h.release
	return nil
}

func (h *hanging) Flush() error { <-h.release; return nil }

// A sink that hangs costs the worker nothing, and a stop no more than its
// deadline.
func TestHangingSink(t *testing.T) {
	h := &hanging{called: make(chan struct{}, 1), release: make(chan struct{})}
	s := newShop(t)
	stop, err := reliabledatadog.Metrics{Client: h}.Subscribe(s.plugin.Monitor())
	if err != nil {
		t.Fatal(err)
	}
	s.work(t, func() { <-h.called }, "one", "two", "three")
	var left int64
	if err := s.Raw("SELECT count(*) FROM outbox_entries").Scan(&left).Error; err != nil || left != 0 {
		t.Errorf("%d entries are left, %v; want none", left, err)
	}
	cause := errors.New("too long")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if err := stop(ctx); !errors.Is(err, cause) {
		t.Errorf("stop() = %v, want that it took too long", err)
	}
	close(h.release)
}

// panicking is a client whose gauges panic.
type panicking struct{ statsd.NoOpClient }

func (*panicking) Gauge(string, float64, []string, float64) error { panic("gauge") }

func TestPanickingSink(t *testing.T) {
	s := newShop(t)
	stop, err := reliabledatadog.Metrics{Client: &panicking{}}.Subscribe(s.plugin.Monitor())
	if err != nil {
		t.Fatal(err)
	}
	s.work(t, func() {}, "one", "two")
	if err := stop(t.Context()); err != nil {
		t.Errorf("stop() = %v", err)
	}
}

// All mistakes are told at once, with the variable or field and what it takes.
func TestMistakes(t *testing.T) {
	quiet(t)
	for name, value := range map[string]string{"DD_DOGSTATSD_PORT": "80x", "DD_DOGSTATSD_URL": "http://agent", "DD_TAGS": "team:a,loose"} {
		t.Setenv(name, value)
	}
	stop, err := reliabledatadog.Metrics{Tags: []string{"a b:c"}, Pools: map[string]*sql.DB{"": nil}}.Subscribe(nil)
	if err == nil || stop(t.Context()) != nil {
		t.Fatalf("Subscribe() = %v, want an error and a stop that does nothing", err)
	}
	for _, want := range []string{
		"the monitor is nil: pass the plugin's", `Pools[""] is nil: pass the *sql.DB`, `Pools has the name "": want letters`, `Tags has "a b:c": want name:value`,
		`DD_DOGSTATSD_PORT is "80x": want a port from 1 to 65535`, `DD_DOGSTATSD_URL is "http://agent": want udp://host:port or unix:///path`, `DD_TAGS has "loose": want name:value`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Subscribe() = %v, want %s in it", err, want)
		}
	}
	quiet(t)
	if _, err := (reliabledatadog.Metrics{}).Subscribe(new(reliable.Monitor)); err == nil || !strings.Contains(err.Error(), "set DD_AGENT_HOST or DD_DOGSTATSD_URL, or Metrics.Client") {
		t.Errorf("Subscribe() = %v, want what to set", err)
	}
}
