package worker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/outbox"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// Refund is a model that is not paused.
type Refund struct{ ID uint }

// pausable is a database whose orders owe a mail and an index, and whose
// refunds show that the worker has gone on.
type pausable struct {
	*gorm.DB
	outbox      *outbox.Outbox
	mail, index downstream
	refunds     downstream
	heard       chan reliable.Event // WorkPaused and WorkResumed
}

func newPausable(t *testing.T, d testdb.Dialect) *pausable {
	t.Helper()
	p := &pausable{heard: make(chan reliable.Event, 100)}
	p.mail.up.Store(true)
	p.index.up.Store(true)
	r := new(reliable.Registry)
	reliable.AfterCommit(r, reliable.Callback[Order]{Name: "mail", Run: p.mail.call})
	reliable.AfterCommit(r, reliable.Callback[Order]{Name: "index", Run: p.index.call})
	reliable.AfterCreateCommit(r, "pay", func(context.Context, reliable.Change[Refund]) error { p.refunds.calls.Add(1); return nil })
	p.DB = open(t, testdb.New(t, d), r)
	p.outbox = outbox.Of(p.DB)
	plugin, err := reliable.From(p.DB)
	if err := errors.Join(err, p.AutoMigrate(&Refund{})); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(plugin.Monitor().Subscribe(func(e reliable.Event) {
		switch e.(type) {
		case *reliable.WorkPaused, *reliable.WorkResumed:
			p.heard <- e
		}
	}))
	return p
}

// goesOn waits until some later work is done: the worker has claimed again.
func (p *pausable) goesOn(t *testing.T) {
	t.Helper()
	for range 3 {
		before := p.refunds.calls.Load()
		if err := p.Create(&Refund{}).Error; err != nil {
			t.Fatal(err)
		}
		eventually(t, "a refund is paid", func() bool { return p.refunds.calls.Load() == before+1 })
	}
}

func (p *pausable) orders(t *testing.T, n int) {
	t.Helper()
	if err := p.Create(make([]Order, n)).Error; err != nil {
		t.Fatal(err)
	}
}

// hears waits for the next pause or its end.
func (p *pausable) hears(t *testing.T) reliable.Event {
	t.Helper()
	select {
	case e := <-p.heard:
		return e
	case <-time.After(10 * time.Second):
		t.Fatal("no worker heard of it within 10 s")
		return nil
	}
}

// A paused model's entries stay as they are, whoever would work on them, and
// are worked as soon as it is resumed.
func TestPauseModel(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		p := newPausable(t, d)
		order := outbox.Selector{Model: "Order"}
		p.orders(t, 50)
		if err := p.outbox.Pause(t.Context(), order, "a migration"); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			start(t, &worker.Worker{DB: p.DB, Threads: 2, BatchSize: 10, PollInterval: 20 * time.Millisecond})
		}
		if e, ok := p.hears(t).(*reliable.WorkPaused); !ok || e.Pause.String() != "model Order" || e.Pause.Reason != "a migration" {
			t.Errorf("heard %+v, want of the pause", e)
		}
		p.goesOn(t)
		p.orders(t, 50)
		p.goesOn(t)
		if n := p.mail.calls.Load() + p.index.calls.Load(); n != 0 {
			t.Errorf("%d calls while it is paused, want 0", n)
		}
		if n := count(t, p.DB, "SELECT count(*) FROM outbox_entries WHERE resource_class = 'Order' AND retry_at IS NULL AND callbacks IS NULL AND attempts = 0"); n != 100 {
			t.Errorf("%d of 100 entries are as they were captured", n)
		}
		if err := p.outbox.Resume(t.Context(), order); err != nil {
			t.Fatal(err)
		}
		eventually(t, "all is done", func() bool { return count(t, p.DB, "SELECT count(*) FROM outbox_entries") == 0 })
		if _, ok := p.hears(t).(*reliable.WorkResumed); !ok {
			t.Error("heard of another pause, want its end")
		}
		if mail, index := p.mail.calls.Load(), p.index.calls.Load(); mail != 100 || index != 100 {
			t.Errorf("%d mails and %d indexed, want 100 and 100", mail, index)
		}
	})
}

// A paused callback holds up no sibling; its entries are written once, burn no
// attempt, and run it as soon as it is resumed. Each pause ends by itself.
func TestPauseCallback(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		p := newPausable(t, d)
		mail, created := outbox.Selector{Callback: "mail"}, outbox.Selector{Model: "Order", Event: "order_created", Callback: "mail"}
		stop := start(t, &worker.Worker{DB: p.DB, Threads: 2, BatchSize: 10, PollInterval: 20 * time.Millisecond})
		for _, s := range []outbox.Selector{mail, created} {
			if err := p.outbox.Pause(t.Context(), s, ""); err != nil {
				t.Fatal(err)
			}
			p.hears(t)
		}
		p.orders(t, 100)
		if err := p.Delete(&Order{}, "id <= 20").Error; err != nil {
			t.Fatal(err)
		}
		eventually(t, "each change is indexed, and waits for its mail", func() bool {
			return count(t, p.DB, "SELECT count(*) FROM outbox_entries WHERE callbacks IS NOT NULL") == 120
		})
		before := versions(t, p.DB)
		p.goesOn(t)
		if err := p.outbox.Resume(t.Context(), mail); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the mails of the destroys, which were paused once", func() bool { return p.mail.calls.Load() == 20 })
		p.goesOn(t)
		after := versions(t, p.DB)
		waiting := 0
		for id, at := range before {
			switch after[id] {
			case at:
				waiting++
			case "": // done
			default:
				t.Errorf("entry %d was written while it is paused", id)
			}
		}
		if mails := p.mail.calls.Load(); waiting != 100 || mails != 20 {
			t.Errorf("%d entries wait after %d mails, want 100 and 20", waiting, mails)
		}
		if err := p.outbox.Resume(t.Context(), created); err != nil {
			t.Fatal(err)
		}
		eventually(t, "all is done", func() bool { return count(t, p.DB, "SELECT count(*) FROM outbox_entries") == 0 })
		if err := stop(); err != nil {
			t.Error(err)
		}
		if mail, index := p.mail.calls.Load(), p.index.calls.Load(); mail != 120 || index != 120 {
			t.Errorf("%d mails and %d indexed, want 120 and 120", mail, index)
		}
		if n := count(t, p.DB, "SELECT count(*) FROM outbox_history WHERE attempts = 0"); n != 120+6 {
			t.Errorf("%d entries without a failed attempt, want 120 and six refunds", n)
		}
	})
}

// An entry of which a part was paused is left to binaries that know all of it;
// an older one goes on with what owes only what it knows.
func TestPausedPartKeepsItsBinary(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		var mail, index downstream
		mail.up.Store(true)
		index.up.Store(true)
		url := testdb.New(t, d)
		newer, older := new(reliable.Registry), new(reliable.Registry)
		reliable.AfterCreateCommit(newer, "mail", mail.call)
		reliable.AfterCreateCommit(newer, "index", index.call)
		reliable.AfterCreateCommit(older, "mail", mail.call)
		newDB, oldDB := open(t, url, newer), open(t, url, older)
		o, only := outbox.Of(newDB), outbox.Selector{Callback: "mail"}
		if err := errors.Join(o.Pause(t.Context(), only, ""), newDB.Create(&Order{}).Error); err != nil {
			t.Fatal(err)
		}
		stop := start(t, &worker.Worker{DB: newDB, PollInterval: 20 * time.Millisecond})
		eventually(t, "the index is done, the mail waits", func() bool {
			return count(t, newDB, "SELECT count(*) FROM outbox_entries WHERE callbacks IS NOT NULL") == 1
		})
		if err := errors.Join(stop(), o.Resume(t.Context(), only)); err != nil {
			t.Fatal(err)
		}
		plugin, err := reliable.From(oldDB)
		if err != nil {
			t.Fatal(err)
		}
		orphans := make(chan *reliable.OrphansFound, 10)
		defer reliable.Subscribe(plugin.Monitor(), func(e *reliable.OrphansFound) { orphans <- e })()
		stop = start(t, &worker.Worker{DB: oldDB, PollInterval: 20 * time.Millisecond})
		eventually(t, "the older worker sees that it can't do it", func() bool { return len(orphans) > 0 })
		if err := oldDB.Create(&Order{}).Error; err != nil {
			t.Fatal(err)
		}
		eventually(t, "the older worker does its own", func() bool { return count(t, oldDB, "SELECT count(*) FROM outbox_history") == 1 })
		if n := count(t, oldDB, "SELECT count(*) FROM outbox_entries"); n != 1 || mail.calls.Load() != 1 {
			t.Errorf("%d entries wait after %d mails, want 1 and 1", n, mail.calls.Load())
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		start(t, &worker.Worker{DB: newDB, PollInterval: 20 * time.Millisecond})
		eventually(t, "the newer worker does the rest", func() bool { return count(t, newDB, "SELECT count(*) FROM outbox_entries") == 0 })
	})
}

// Work that is claimed and not begun when a pause is heard of rests, too.
func TestPauseReachesWhatIsClaimed(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		begun, release := make(chan struct{}, 100), make(chan struct{})
		r := new(reliable.Registry)
		reliable.AfterCommit(r, reliable.Callback[Order]{Name: "slow", Run: func(context.Context, reliable.Change[Order]) error {
			begun <- struct{}{}
			<-release
			return nil
		}})
		db := open(t, testdb.New(t, d), r)
		plugin, err := reliable.From(db)
		if err != nil {
			t.Fatal(err)
		}
		heard := make(chan *reliable.WorkPaused, 1)
		defer reliable.Subscribe(plugin.Monitor(), func(e *reliable.WorkPaused) { heard <- e })()
		if err := db.Create(make([]Order, 50)).Error; err != nil {
			t.Fatal(err)
		}
		lease := &processors.NonOrdered{LeaseTTL: time.Second} // what is paused is read with each heartbeat
		stop := start(t, &worker.Worker{DB: db, BatchSize: 50, PollInterval: 20 * time.Millisecond, Processor: lease})
		<-begun
		if err := outbox.Of(db).Pause(t.Context(), outbox.Selector{Callback: "slow"}, ""); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the worker hears of the pause", func() bool { return len(heard) == 1 })
		close(release)
		eventually(t, "the first is done, and nothing is held", func() bool {
			return count(t, db, "SELECT count(*) FROM outbox_history") == 1 && count(t, db, "SELECT count(*) FROM outbox_entries WHERE retry_at IS NOT NULL AND attempts = 0") == 49
		})
		if err := stop(); err != nil {
			t.Error(err)
		}
		if n := len(begun); n != 0 {
			t.Errorf("%d more began after the pause, want 0", n)
		}
	})
}
