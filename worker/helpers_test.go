package worker_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// soon is a backoff for tests.
func soon(int) time.Duration { return time.Millisecond }

// ledger counts runs by callback and order.
type ledger struct {
	mu   sync.Mutex
	runs map[string]int
}

func (l *ledger) add(c reliable.Change[Order], name string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.runs == nil {
		l.runs = make(map[string]int)
	}
	key := fmt.Sprintf("%s %s %d", name, c.Operation, c.Model.ID)
	l.runs[key]++
	return l.runs[key]
}

func (l *ledger) of(key string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.runs[key]
}

// open connects to a database with the plugin and all tables.
func open(t *testing.T, url testdb.DB, r *reliable.Registry) *gorm.DB {
	t.Helper()
	return openWith(t, url, reliable.Config{Registry: r})
}

func openWith(t *testing.T, url testdb.DB, config reliable.Config) *gorm.DB {
	t.Helper()
	db := url.Open(t)
	if err := errors.Join(db.AutoMigrate(&Order{}), db.Use(reliable.New(config)), migrations.Up(t.Context(), db)); err != nil {
		t.Fatal(err)
	}
	return db
}

// start runs a worker until stop is called, which returns what Run returned.
func start(t *testing.T, w *worker.Worker) (stop func() error) {
	t.Helper()
	if plugin, err := reliable.From(w.DB); err == nil {
		t.Cleanup(reliable.Subscribe(plugin.Monitor(), func(e *reliable.ErrorOccurred) { t.Logf("%s: %v", e.Step, e.Err) }))
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() {
		err := w.Run(ctx)
		if err != nil {
			t.Logf("Run() = %v", err)
		}
		ran <- err
	}()
	stop = sync.OnceValue(func() error { cancel(); return <-ran })
	t.Cleanup(func() { _ = stop() })
	return stop
}

// count returns how many rows a query counts.
func count(t *testing.T, db *gorm.DB, query string) int {
	t.Helper()
	var n int
	if err := db.Raw(query).Scan(&n).Error; err != nil {
		t.Fatal(err)
	}
	return n
}

// eventually waits until ok says so, or fails the test.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	within(t, time.Minute, what, ok)
}

// within is eventually with another patience.
func within(t *testing.T, patience time.Duration, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}
