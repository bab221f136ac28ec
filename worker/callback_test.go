package worker_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// A callback that ends its goroutine ends nothing else: what else the entry
// owes runs, and the thread goes on.
func TestGoexitEndsOneAttempt(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		var l ledger
		r := new(reliable.Registry)
		for _, name := range []string{"first", "second", "third", "fourth"} {
			reliable.AfterCommit(r, reliable.Callback[Order]{Name: name, Backoff: soon, Breaker: &reliable.Breaker{Off: true}, Run: func(_ context.Context, c reliable.Change[Order]) error {
				if l.add(c, name) == 1 && name != "third" {
					runtime.Goexit()
				}
				return nil
			}})
		}
		db := open(t, testdb.New(t, d), r)
		start(t, &worker.Worker{DB: db, Threads: 2, PollInterval: 20 * time.Millisecond})
		if err := db.Create(make([]Order, 20)).Error; err != nil {
			t.Fatal(err)
		}
		eventually(t, "no entry left", func() bool { return count(t, db, "SELECT count(*) FROM outbox_entries") == 0 })
		for key, want := range map[string]int{"first create 7": 2, "second create 7": 2, "third create 7": 1, "fourth create 7": 2} {
			if got := l.of(key); got != want {
				t.Errorf("%s ran %d times, want %d", key, got, want)
			}
		}
		if n := count(t, db, "SELECT count(*) FROM outbox_history WHERE attempts = 1 AND callbacks LIKE '%callback called runtime.Goexit%'"); n != 20 {
			t.Errorf("%d entries had one failed attempt, want 20", n)
		}
	})
}

// Without a look at the row, a callback is told what the entry knows.
func TestNoModel(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		wrong := make(chan string, 10)
		r := new(reliable.Registry)
		reliable.AfterCommit(r, reliable.Callback[Order]{Name: "lean", NoModel: true, Run: func(_ context.Context, c reliable.Change[Order]) error {
			want := Order{ID: 1}
			if *c.Model != want {
				wrong <- fmt.Sprintf("%s: Model = %+v, want %+v", c.Operation, *c.Model, want)
			}
			switch after, before := c.After(), c.Before(); c.Operation {
			case reliable.OpCreate:
				if after.Total != 1 || before != nil || c.Gone {
					wrong <- fmt.Sprintf("create: Before = %+v, After = %+v, Gone = %t", before, after, c.Gone)
				}
			case reliable.OpUpdate:
				if after.Total != 2 || before.Total != 1 || !c.Changed("Total") || c.Gone {
					wrong <- fmt.Sprintf("update: Before = %+v, After = %+v, Gone = %t", before, after, c.Gone)
				}
			default:
				if after != nil || before.Total != 2 || !c.Gone {
					wrong <- fmt.Sprintf("destroy: Before = %+v, After = %+v, Gone = %t", before, after, c.Gone)
				}
			}
			return nil
		}})
		db := open(t, testdb.New(t, d), r)
		order := Order{Total: 1}
		if err := errors.Join(db.Create(&order).Error, db.Model(&order).Update("total", 2).Error, db.Delete(&order).Error); err != nil {
			t.Fatal(err)
		}
		start(t, &worker.Worker{DB: db, PollInterval: 20 * time.Millisecond})
		eventually(t, "no entry left", func() bool { return count(t, db, "SELECT count(*) FROM outbox_entries") == 0 })
		close(wrong)
		for text := range wrong {
			t.Error(text)
		}
	})
}
