package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/outbox"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// within receives what is to come, and gives up after half a minute.
func within[T any](t *testing.T, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(30 * time.Second):
		t.Fatal("it did not come within 30 s")
	}
	return v
}

// A key whose head fails for the last time stands still while others go on; once
// it is released, it goes on in order.
func TestParkedKeyGoesOn(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		var broken atomic.Bool
		broken.Store(true)
		ran := make(chan uint, 100) // of key 0, what succeeded
		others := make(chan uint, 100)
		r := new(reliable.Registry)
		reliable.Register(r, reliable.Model[Order]{CausalityKey: func(o *Order) string { return fmt.Sprint("customer-", o.Total) }})
		reliable.AfterCommit(r, reliable.Callback[Order]{Name: "mirror", Run: func(_ context.Context, c reliable.Change[Order]) error {
			switch {
			case c.Model.Total == 1:
				others <- c.Model.ID
			case broken.Load() && c.Model.ID%4 == 1:
				return reliable.Permanent(errors.New("no such account"))
			default:
				ran <- c.Model.ID
			}
			return nil
		}})
		db := testdb.New(t, d).Open(t)
		plugin := reliable.New(reliable.Config{Registry: r})
		if err := errors.Join(db.AutoMigrate(&Order{}), db.Use(plugin), migrations.Up(t.Context(), db)); err != nil {
			t.Fatal(err)
		}
		heard := make(chan *reliable.KeyParked, 100)
		defer reliable.Subscribe(plugin.Monitor(), func(e *reliable.KeyParked) { heard <- e })()
		for i := range 8 { // 1 to 8; the heads of key 0 that fail are 1 and 5
			if err := db.Create(&Order{ID: uint(i + 1)}).Error; err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		ended := make(chan error, 1)
		go func() {
			w := &worker.Worker{DB: db, Threads: 4, PollInterval: 20 * time.Millisecond, Processor: new(processors.OrderedByCausalityKey)}
			ended <- w.Run(ctx)
		}()
		defer func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("Run() = %v, want nil", err)
			}
		}()
		o := outbox.Of(db)
		release := func(how outbox.Release, model string) {
			t.Helper()
			e := within(t, heard)
			keys, err := o.ParkedKeys(t.Context(), outbox.ParkedFilter{})
			if err != nil || len(keys) != 1 || keys[0].Key != "customer-0" || keys[0].Head != e.Entry.ID || keys[0].ModelID != model || e.Key != keys[0].Key || !strings.Contains(keys[0].ErrorMessage, "no such account") {
				t.Fatalf("ParkedKeys() = %+v, %v, want order %s and its error, as the event has it: %+v", keys, err, model, e)
			}
			if err := o.ReleaseKey(t.Context(), keys[0].Key, keys[0].Head, how); err != nil {
				t.Fatal(err)
			}
		}
		first := within(t, heard)
		for id := uint(100); id < 110; id++ { // another key goes on while this one stands
			if err := db.Create(&Order{ID: id, Total: 1}).Error; err != nil {
				t.Fatal(err)
			}
			if got := within(t, others); got != id {
				t.Errorf("order %d ran, want %d", got, id)
			}
		}
		if len(ran)+len(heard) != 0 {
			t.Errorf("%d entries of the parked key ran, and it was parked %d times more, want neither", len(ran), len(heard))
		}
		heard <- first
		release(outbox.DiscardHead, "1")
		for want := uint(2); want <= 4; want++ {
			if got := within(t, ran); got != want {
				t.Errorf("order %d ran, want %d", got, want)
			}
		}
		e := within(t, heard)
		heard <- e // it is dead; only now
		broken.Store(false)
		release(outbox.RetryHead, "5")
		for want := uint(5); want <= 8; want++ {
			if got := within(t, ran); got != want {
				t.Errorf("order %d ran, want %d", got, want)
			}
		}
		for count(t, db, "outbox_entries") > 0 {
			<-time.After(5 * time.Millisecond)
		}
		if n := count(t, db, "outbox_history"); n != 18 {
			t.Errorf("%d entries in the history, want 18", n)
		}
	})
}
