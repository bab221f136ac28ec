package worker_test

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// order adds an entry of a model that owes these callbacks.
func (p *table) order(key string, owed ...string) (id int64) {
	p.look(func() { id = p.enter(key, owed...) })
	return id
}

// enter is order for entries that come together, inside look.
func (p *table) enter(key string, owed ...string) int64 {
	return p.add(&reliable.OutboxEntry{
		Context: reliable.ContextModel, ResourceClass: "Order", ResourceID: "1", EventName: "order_created", Owed: owed, CausalityKey: key,
		Changeset: json.RawMessage(`{"v":1,"key":{"id":1},"set":{"id":[null,1]}}`),
	})
}

// A RunTx commits the end of its entry by itself, so that it begins only once
// what goes before it has ended for good: not just run, which a crash undoes.
func TestRunTxWaitsForItsPredecessor(t *testing.T) {
	tests := []struct {
		name           string
		head, follower []string // callbacks
		waits          bool
	}{
		{"plain, plain", []string{"plain"}, []string{"plain"}, false},
		{"plain, tx", []string{"plain"}, []string{"tx"}, true},
		{"plain, tx among others", []string{"plain"}, []string{"plain", "tx", "last"}, true},
		{"tx, plain", []string{"tx"}, []string{"plain"}, false},
		{"tx, tx", []string{"tx"}, []string{"tx"}, false},
		{"plain and tx, tx", []string{"plain", "tx"}, []string{"tx"}, false},
		{"tx and plain, tx", []string{"tx", "last"}, []string{"tx"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			open := make(chan struct{})
			p := &table{policy: reliable.KeyPark}
			p.finish = func(int64, []reliable.Outcome) error { <-open; return nil }
			head := p.order("a", tt.head...)
			follower := p.order("a", tt.follower...)
			end := p.put("a")
			other := p.put("b")
			p.put("b")
			last := p.put("c") // of the next claim
			ran := make(chan int64, 100)
			db := ordering(t, func(id int64) { p.begin(id); p.end(id, true); ran <- id })
			stop := start(t, &worker.Worker{DB: db, Processor: p, Threads: 1, BatchSize: 5, PollInterval: time.Millisecond})
			for id := range ran { // the one thread takes the older claim first
				if id == last {
					break
				}
			}
			if n := p.starts(follower); (n == 0) != tt.waits {
				t.Errorf("%d runs of what follows an entry that is not durable, want none: %t", n, tt.waits)
			}
			if p.starts(head) == 0 || p.starts(other, other+1) != 2 {
				t.Error("others did not run meanwhile")
			}
			close(open)
			eventually(t, "all has ended", p.ended)
			if err := stop(); err != nil {
				t.Error(err)
			}
			p.judge(t, head, follower, end, other, other+1, last)
		})
	}
}

// What a RunTx waits for is written at once, not when its group is, also if that
// comes while another group is written.
func TestRunTxDoesNotWaitForAGroup(t *testing.T) {
	open, writing := make(chan struct{}), make(chan struct{}, 10)
	p := &table{policy: reliable.KeyPark}
	p.finish = func(int64, []reliable.Outcome) error { writing <- struct{}{}; <-open; return nil }
	p.put("")
	const last = 4 // the one thread runs it once the head of the key has an outcome
	db := ordering(t, func(id int64) {
		p.begin(id)
		p.end(id, true)
		if id == last {
			close(open)
		}
	})
	stop := start(t, &worker.Worker{DB: db, Processor: p, BatchSize: 5, FinishDelay: time.Hour, PollInterval: time.Millisecond})
	<-writing
	p.look(func() {
		p.enter("a", "plain")
		p.enter("a", "tx")
		p.enter("b", "plain")
		p.enter("a", "tx", "last")
		p.enter("a", "tx")
	})
	eventually(t, "all has ended", p.ended)
	if err := stop(); err != nil {
		t.Error(err)
	}
	p.judge(t, span(6)...)
}

// ended reports whether all entries have ended.
func (p *table) ended() (all bool) {
	p.look(func() { all = !slices.ContainsFunc(p.rows, func(r *row) bool { return !r.ended }) })
	return all
}

// ordering returns a handle whose registry has the callbacks plain, tx and last,
// in this order, and jobs.
func ordering(t *testing.T, begin func(id int64)) *gorm.DB {
	t.Helper()
	r := new(reliable.Registry)
	for _, name := range []string{"plain", "tx", "last"} {
		c := reliable.Callback[Order]{Name: name, On: reliable.OpCreate, NoModel: true}
		if name == "tx" {
			c.RunTx = func(_ context.Context, _ *gorm.DB, c reliable.Change[Order]) error { begin(c.Entry.ID); return nil }
		} else {
			c.Run = func(_ context.Context, c reliable.Change[Order]) error { begin(c.Entry.ID); return nil }
		}
		reliable.AfterCommit(r, c)
	}
	r.Handle("job", "run", reliable.RecordProcessorFunc(func(_ context.Context, e *reliable.OutboxEntry) error { begin(e.ID); return nil }))
	return open(t, testdb.New(t, testdb.SQLite), r)
}
