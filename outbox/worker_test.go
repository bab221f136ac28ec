package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/outbox"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Keys are parked and released by several operators at a time while a processor
// works: what is behind a head begins when that is over, nothing is lost, and no
// head is released twice (80).
func TestReleaseWhileWorking(t *testing.T) {
	const each = 12
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		db := open(t, d)
		for _, key := range []string{"ann", "bob", "cid", "dan"} {
			record(t, db, key, slices.Repeat([]string{"invoice_sent"}, each)...)
		}
		plugin, err := reliable.From(db)
		if err != nil {
			t.Fatal(err)
		}
		p := new(processors.OrderedByCausalityKey)
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		over := make(chan struct{}) // for the operators: what they are about, they end
		var all sync.WaitGroup
		stop := sync.OnceFunc(func() {
			close(over)
			cancel()
			all.Wait()
		})
		defer stop()
		ready := make(chan struct{})
		all.Go(func() {
			if err := p.Run(ctx, processors.Site{DB: db, Plugin: plugin, Worker: "w", Threads: 1}, func() { close(ready) }); err != nil {
				t.Errorf("Run() = %v, want nil", err)
			}
		})
		<-ready
		var mu sync.Mutex
		released := make(map[int64]int)
		for _, how := range []outbox.Release{outbox.RetryHead, outbox.DiscardHead, outbox.SkipHead, outbox.RetryHead} {
			all.Go(func() {
				o := outbox.Of(db)
				for {
					keys, err := o.ParkedKeys(t.Context(), outbox.ParkedFilter{})
					for _, k := range keys {
						if err = o.ReleaseKey(t.Context(), k.Key, k.Head, how); err == nil {
							mu.Lock()
							released[k.Head]++
							mu.Unlock()
						}
					}
					if err != nil && !errors.Is(err, outbox.ErrNotParked) {
						t.Error(err)
						return
					}
					select {
					case <-over:
						return
					case <-time.After(5 * time.Millisecond):
					}
				}
			})
		}
		died := make(map[int64]int)
		for count(t, db, "outbox_entries WHERE lane IS NOT NULL") > 0 {
			c, err := p.Claim(ctx, 10)
			if err != nil {
				t.Fatal(err)
			}
			if c == nil { // leave SQLite to the operators: who waits for it is not served in turn
				<-time.After(10 * time.Millisecond)
				continue
			}
			stands := make(map[string]bool)
			for _, e := range c.Entries() {
				o := reliable.Outcome{Entry: e, State: reliable.StateDone}
				if n := count(t, db, fmt.Sprintf("outbox_entries WHERE lane IS NOT NULL AND causality_key = '%s' AND id < %d", e.CausalityKey, e.ID)); n > 0 && !stands[e.CausalityKey] {
					t.Errorf("entry %d begins while %d before it are not done", e.ID, n)
				}
				switch {
				case stands[e.CausalityKey]:
					o.State = reliable.StateReleased
				case e.ID%3 == 0 && died[e.ID] < 2:
					died[e.ID]++
					o.State, o.Parked, o.ErrorClass, o.ErrorMessage = reliable.StateDead, true, "bad", "luck"
					stands[e.CausalityKey] = true
				}
				if err := c.Finish(ctx, []reliable.Outcome{o}); err != nil {
					t.Fatal(err)
				}
			}
		}
		stop()
		for id, n := range released {
			if n != died[id] {
				t.Errorf("entry %d died %d times and was released %d times", id, died[id], n)
			}
		}
		if len(released) != len(died) || len(died) < each {
			t.Errorf("%d entries died, %d were released", len(died), len(released))
		}
		if n := count(t, db, "outbox_parked_keys"); n != 0 {
			t.Errorf("%d parked keys are left", n)
		}
		if n := count(t, db, "outbox_entries") + count(t, db, "outbox_history"); n != 4*each {
			t.Errorf("%d entries are left of %d", n, 4*each)
		}
	})
}
