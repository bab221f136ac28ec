package worker_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// Workers are started and stopped 500 times, ten at a time, with work in
// flight: nothing is lost, nothing runs twice, nothing is burnt, and of the
// workers nothing is left: no row, no connection, no goroutine (TestMain).
func TestStartStopStress(t *testing.T) {
	const parallel, times = 10, 50
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		var l ledger
		ran := make(chan struct{}, parallel*times)
		r := new(reliable.Registry)
		reliable.AfterCreateCommit(r, "work", func(_ context.Context, c reliable.Change[Order]) error {
			l.add(c, "work")
			ran <- struct{}{}
			return nil
		})
		name := "stress_" + strings.ToLower(d.String())
		url := testdb.New(t, d)
		watcher := url.Open(t)
		db := open(t, named(url, name), r)
		pool, err := db.DB()
		if err != nil {
			t.Fatal(err)
		}
		pool.SetMaxIdleConns(1)
		plugin, err := reliable.From(db)
		if err != nil {
			t.Fatal(err)
		}
		defer reliable.Subscribe(plugin.Monitor(), func(e *reliable.ErrorOccurred) { t.Logf("%s: %v", e.Step, e.Err) })()
		defer reliable.Subscribe(plugin.Monitor(), func(e *reliable.EntriesRescued) { t.Logf("rescued %+v", e) })()
		var all sync.WaitGroup
		for range parallel {
			all.Go(func() {
				for range times {
					if err := db.Create(&Order{}).Error; err != nil {
						t.Errorf("Create() = %v", err)
						return
					}
					ctx, cancel := context.WithCancel(context.Background())
					ended := make(chan error, 1)
					w := &worker.Worker{DB: db, Threads: 1 + rand.IntN(4), PollInterval: 10 * time.Millisecond, Processor: &processors.NonOrdered{LeaseTTL: time.Minute}}
					go func() { ended <- w.Run(ctx) }()
					if rand.IntN(4) > 0 { // or else it is stopped while it starts
						<-ran // of whichever worker
					}
					cancel()
					if err := <-ended; err != nil {
						t.Errorf("Run() = %v, want nil", err)
					}
				}
			})
		}
		all.Wait()
		stop := start(t, &worker.Worker{DB: db, Threads: 4, PollInterval: 10 * time.Millisecond})
		within(t, time.Minute, "no entry left", func() bool { return count(t, watcher, "SELECT count(*) FROM outbox_entries") == 0 })
		if err := stop(); err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
		for _, table := range []string{"outbox_claims", "outbox_workers", "outbox_history WHERE attempts > 0 OR crashes > 0"} {
			if n := count(t, watcher, "SELECT count(*) FROM "+table); n != 0 {
				t.Errorf("%d rows in %s, want 0", n, table)
			}
		}
		for id := 1; id <= parallel*times; id++ {
			if n := l.of(fmt.Sprintf("work create %d", id)); n != 1 {
				t.Errorf("order %d: %d runs, want 1", id, n)
			}
		}
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
		eventually(t, "no connection left", func() bool { return sessions(t, watcher, name) == 0 })
	})
}
