package worker_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// deadlines notes the calls of a driver that could last for ever.
type deadlines struct {
	mu      sync.Mutex
	calls   int
	endless []string
}

func (d *deadlines) note(ctx context.Context, query string, _ []driver.NamedValue) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls++
	if _, ends := ctx.Deadline(); !ends {
		d.endless = append(d.endless, query)
	}
}

// Every call of a worker's to the database has a deadline: what it claims,
// reads, finishes, fails, gives back, rescues, keeps.
func TestEveryCallHasADeadline(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		url := testdb.New(t, d)
		begun := make(chan struct{}, 10)
		r := new(reliable.Registry)
		reliable.AfterCommit(r, reliable.Callback[Order]{Name: "work", MaxAttempts: 2, Backoff: soon, Run: func(ctx context.Context, c reliable.Change[Order]) error {
			if c.Model.ID > 30 {
				begun <- struct{}{}
				<-ctx.Done() // at the drain
			}
			if c.Model.ID%3 == 0 {
				return errors.New("always")
			}
			return nil
		}})
		quiet := open(t, url, r)
		orders := make([]Order, 30)
		if err := quiet.Create(&orders).Error; err != nil {
			t.Fatal(err)
		}
		bury(t, quiet, 3)
		seen := new(deadlines)
		db := url.Tap(t, seen.note)
		if err := db.Use(reliable.New(reliable.Config{Registry: r})); err != nil {
			t.Fatal(err)
		}
		seen.mu.Lock()
		seen.calls, seen.endless = 0, nil
		seen.mu.Unlock()
		plugin, err := reliable.From(db)
		if err != nil {
			t.Fatal(err)
		}
		beats := make(chan *reliable.HeartbeatSent, 100)
		defer reliable.Subscribe(plugin.Monitor(), func(e *reliable.HeartbeatSent) {
			select {
			case beats <- e:
			default:
			}
		})()
		stop := start(t, &worker.Worker{DB: db, Threads: 2, PollInterval: 20 * time.Millisecond, ShutdownTimeout: time.Millisecond, NoBreaker: true, Processor: &processors.NonOrdered{LeaseTTL: 2 * time.Second}})
		within(t, time.Minute, "all entries are done or dead", func() bool {
			return count(t, quiet, "SELECT count(*) FROM outbox_entries WHERE dead_at IS NULL") == 0
		})
		more := make([]Order, 5)
		if err := quiet.Create(&more).Error; err != nil {
			t.Fatal(err)
		}
		<-begun
		<-begun
		for range 2 {
			<-beats
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		seen.mu.Lock()
		defer seen.mu.Unlock()
		if seen.calls < 30 {
			t.Errorf("%d calls were seen: that can't be all", seen.calls)
		}
		for _, call := range seen.endless {
			t.Errorf("no deadline: %s", call)
		}
	})
}

// bury leaves entries to a worker that is dead.
func bury(t *testing.T, db *gorm.DB, n int) {
	t.Helper()
	plugin, err := reliable.From(db)
	if err != nil {
		t.Fatal(err)
	}
	p := &processors.NonOrdered{LeaseTTL: 500 * time.Millisecond}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- p.Run(ctx, processors.Site{DB: db, Plugin: plugin, Worker: "buried", Threads: 1}, func() {})
	}()
	claim, err := p.Claim(t.Context(), n)
	if err != nil || claim == nil {
		t.Fatalf("Claim() = %v, %v, want entries", claim, err)
	}
	cancel() // it leaves its claim, and its row until the lease is over
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}
