package worker_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// sequence judges the order of runs by key, where no lease is lost.
type sequence struct {
	mu      sync.Mutex
	done    map[string]int64 // the last id that succeeded
	running map[string]int64
	runs    int
	wrong   []string
}

// run is one run of an entry, which fails now and then.
func (s *sequence) run(e *reliable.OutboxEntry) error {
	key := e.CausalityKey
	s.mu.Lock()
	if other := s.running[key]; other != 0 {
		s.wrong = append(s.wrong, fmt.Sprintf("entry %d of key %s runs beside %d", e.ID, key, other))
	}
	if e.ID <= s.done[key] {
		s.wrong = append(s.wrong, fmt.Sprintf("entry %d of key %s runs after %d", e.ID, key, s.done[key]))
	}
	s.running[key] = e.ID
	s.mu.Unlock()
	var err error
	switch rand.IntN(20) {
	case 0:
		err = reliable.Snooze(time.Millisecond)
	case 1:
		err = errors.New("now and then")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running[key] = 0
	s.runs++
	if err == nil {
		s.done[key] = e.ID
	}
	return err
}

// Entries of a key succeed one after the other, with failures, RunTx among them,
// two workers, and on every database.
func TestOrderedWorkers(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		const keys, rounds = 10, 15
		s := &sequence{done: make(map[string]int64), running: make(map[string]int64)}
		key := func(n int) string { return fmt.Sprint("k", n) }
		r := new(reliable.Registry)
		reliable.Register(r, reliable.Model[Order]{CausalityKey: func(o *Order) string { return key(o.Total) }})
		off := &reliable.Breaker{Off: true}
		reliable.AfterCommit(r, reliable.Callback[Order]{Name: "tx", On: reliable.OpCreate, Backoff: soon, Breaker: off, RunTx: func(_ context.Context, _ *gorm.DB, c reliable.Change[Order]) error {
			return s.run(c.Entry)
		}})
		reliable.AfterCommit(r, reliable.Callback[Order]{Name: "plain", On: reliable.OpUpdate, Backoff: soon, Breaker: off, Run: func(_ context.Context, c reliable.Change[Order]) error {
			return s.run(c.Entry)
		}})
		db := open(t, testdb.New(t, d), r)
		for range rounds {
			for n := range keys {
				o := Order{Total: n}
				if err := db.Create(&o).Error; err != nil {
					t.Fatal(err)
				}
				if err := db.Model(&o).Update("total", n+keys).Error; err != nil { // of a key of its own
					t.Fatal(err)
				}
				if err := db.Model(&o).Update("total", n).Error; err != nil {
					t.Fatal(err)
				}
			}
		}
		for range 2 {
			start(t, &worker.Worker{DB: db, Threads: 4, PollInterval: 5 * time.Millisecond, Processor: &processors.OrderedByCausalityKey{}})
		}
		eventually(t, "all is done", func() bool { return count(t, db, left) == 0 })
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, wrong := range s.wrong {
			t.Error(wrong)
		}
		if len(s.done) != 2*keys || s.runs < 3*keys*rounds {
			t.Errorf("%d keys with %d runs, want %d with at least %d", len(s.done), s.runs, 2*keys, 3*keys*rounds)
		}
		if n := count(t, db, "SELECT count(*) FROM outbox_history"); n != 3*keys*rounds {
			t.Errorf("%d entries in the history, want %d", n, 3*keys*rounds)
		}
	})
}
