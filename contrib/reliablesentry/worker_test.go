package reliablesentry_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/contrib/reliablesentry"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

type order struct {
	ID   int64
	Note string
}

// shop is a database with a callback that panics.
type shop struct {
	*gorm.DB
	plugin *reliable.Plugin
}

func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{DB: testdb.New(t, testdb.SQLite).Open(t)}
	r := new(reliable.Registry)
	reliable.AfterCreateCommit(r, "receipt", func(_ context.Context, c reliable.Change[order]) error {
		return deliver(c.After().Note)
	})
	s.plugin = reliable.New(reliable.Config{Registry: r})
	if err := errors.Join(s.AutoMigrate(&order{}), s.Use(s.plugin), migrations.Up(t.Context(), s.DB)); err != nil {
		t.Fatal(err)
	}
	return s
}

//go:noinline
func deliver(note string) error { panic(note) }

// work runs a worker until the callback of a new order has failed.
func (s *shop) work(t *testing.T, note string) {
	t.Helper()
	failed := make(chan struct{}, 10)
	defer reliable.Subscribe(s.plugin.Monitor(), func(*reliable.EntryFailed) { failed <- struct{}{} })()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- (&worker.Worker{DB: s.DB, PollInterval: 10 * time.Millisecond}).Run(ctx) }()
	if err := s.Create(&order{Note: note}).Error; err != nil {
		t.Fatal(err)
	}
	select {
	case <-failed:
	case <-time.After(20 * time.Second):
		t.Fatal("the callback did not fail within 20 s")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run() = %v", err)
	}
}

// A panic is reported with its stack, once the worker has stopped and with
// nobody else to ask for it.
func TestWorker(t *testing.T) {
	server := listen(t)
	s := newShop(t)
	stop, err := reliablesentry.Reporter{}.Subscribe(s.plugin.Monitor())
	if err != nil {
		t.Fatal(err)
	}
	s.work(t, canary)
	text, events := server.received()
	if len(events) != 1 || strings.Contains(text, canary) {
		t.Fatalf("the server got %s, want one event without %s", text, canary)
	}
	exception := events[0].Exception[0]
	if events[0].summary() != "warning reliable/callback/order/receipt/*reliable.PanicError 1 1" || exception.Stacktrace == nil {
		t.Fatalf("event = %s with %+v, want the panic with its stack", events[0].summary(), exception)
	}
	frames := exception.Stacktrace.Frames
	last := frames[len(frames)-1]
	if last.Function != "deliver" || !strings.HasSuffix(last.Module, "contrib/reliablesentry_test") || !strings.HasSuffix(last.File, "worker_test.go") || last.Line == 0 {
		t.Errorf("the innermost frame is %+v, want deliver of this file", last)
	}
	if err := stop(t.Context()); err != nil {
		t.Errorf("stop() = %v", err)
	}
}

// A worker's end waits until what was reported is sent.
func TestStoppedFlushes(t *testing.T) {
	var sent atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		<-time.After(100 * time.Millisecond)
		sent.Add(1)
	}))
	defer server.Close()
	quiet(t)
	t.Setenv("SENTRY_DSN", strings.Replace(server.URL, "http://", "http://key@", 1)+"/42")
	var m reliable.Monitor
	stop, err := reliablesentry.Reporter{}.Subscribe(&m)
	if err != nil {
		t.Fatal(err)
	}
	m.Publish(&reliable.ErrorOccurred{Step: "claim", Err: context.Canceled})
	m.Publish(&reliable.Stopped{})
	if err := m.Flush(t.Context()); err != nil || sent.Load() != 1 {
		t.Errorf("%d events are sent, %v, want one", sent.Load(), err)
	}
	if err := stop(t.Context()); err != nil {
		t.Errorf("stop() = %v", err)
	}
}

// A server that does not answer costs the worker nothing but the time that a
// flush has at its end, and a stop no more than its deadline; nothing is left.
func TestServerDoesNotAnswer(t *testing.T) {
	asked := make(chan struct{}, 10)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else nobody looks whether the connection is closed
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	defer server.Close()
	quiet(t)
	t.Setenv("SENTRY_DSN", strings.Replace(server.URL, "http://", "http://key@", 1)+"/42")
	s := newShop(t)
	stop, err := reliablesentry.Reporter{}.Subscribe(s.plugin.Monitor())
	if err != nil {
		t.Fatal(err)
	}
	s.work(t, "one")
	<-asked
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- stop(ctx) }()
	select {
	case err := <-stopped:
		if err == nil || !strings.Contains(err.Error(), "not everything was sent in time") {
			t.Errorf("stop() = %v, want that not everything was sent", err)
		}
	case <-time.After(20 * time.Second): // the request itself would take half a minute
		t.Error("stop() waits for the server")
	}
}

// A Text that panics loses its event, and nothing else.
func TestTextPanics(t *testing.T) {
	server := listen(t)
	var m reliable.Monitor
	stop, err := reliablesentry.Reporter{Text: func(err error) string {
		if errors.Is(err, context.Canceled) {
			panic("text")
		}
		return "fine"
	}}.Subscribe(&m)
	if err != nil {
		t.Fatal(err)
	}
	m.Publish(&reliable.ErrorOccurred{Step: "claim", Err: context.Canceled})
	m.Publish(&reliable.ErrorOccurred{Step: "finish", Err: context.DeadlineExceeded})
	if err := errors.Join(m.Flush(t.Context()), stop(t.Context())); err != nil {
		t.Fatal(err)
	}
	if _, events := server.received(); len(events) != 1 || events[0].Exception[0].Value != "fine" {
		t.Errorf("events = %+v, want the second one", events)
	}
}
