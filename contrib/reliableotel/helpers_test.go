package reliableotel_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Order owes callbacks.
type Order struct {
	ID   uint
	Note string
}

// Letter is what a callback writes, and owes one itself.
type Letter struct {
	ID   uint
	Text string
}

// open connects to a SQLite database of the test's own with the plugin.
func open(t *testing.T, install func(db *gorm.DB) reliable.Config) *gorm.DB {
	t.Helper()
	db := testdb.New(t, testdb.SQLite).Open(t)
	config := install(db)
	if err := errors.Join(db.AutoMigrate(&Order{}, &Letter{}), db.Use(reliable.New(config)), migrations.Up(t.Context(), db)); err != nil {
		t.Fatal(err)
	}
	return db
}

// start runs a worker until stop is called.
func start(t *testing.T, db *gorm.DB) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- (&worker.Worker{DB: db, PollInterval: 10 * time.Millisecond, BatchSize: 100}).Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run() = %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// drained waits until nothing is left to do but what is dead.
func drained(t *testing.T, db *gorm.DB) {
	t.Helper()
	eventually(t, "the outbox is worked", func() bool {
		var left int64
		if err := db.Raw("SELECT count(*) FROM outbox_entries WHERE dead_at IS NULL").Scan(&left).Error; err != nil {
			t.Fatal(err)
		}
		return left == 0
	})
}

// eventually waits until ok says so, or fails the test.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// soon is a backoff for tests.
func soon(int) time.Duration { return time.Millisecond }
