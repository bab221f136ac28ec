package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// A key whose head fails, and the others.
const (
	headFails     = 5 // times
	headWait      = 300 * time.Millisecond
	headFollowers = 50
	otherKeys     = 200
	otherWriters  = 4
	otherPause    = 2 * time.Millisecond // between two commits of a writer
	calm          = 3 * time.Second      // how long others are measured before there is a head
	stuckCustomer = "stuck"
)

// observer keeps when orders were committed, and when their callbacks began.
type observer struct {
	mu        sync.Mutex
	committed map[uint]time.Duration
	begun     map[uint]time.Duration
	early     int           // followers that began before the head was done
	attempts  int           // of the head
	done      chan struct{} // the head is, and all of its followers
	followers int           // that were run
}

func newObserver() *observer {
	return &observer{committed: make(map[uint]time.Duration), begun: make(map[uint]time.Duration), done: make(chan struct{})}
}

// orders returns a registry with a callback that fails for the head.
func (w *observer) orders() *reliable.Registry {
	r := new(reliable.Registry)
	reliable.Register(r, reliable.Model[Order]{CausalityKey: func(o *Order) string { return o.Customer }})
	reliable.AfterCommit(r, reliable.Callback[Order]{
		Name: "ship", On: reliable.OpCreate, NoModel: true, Breaker: &reliable.Breaker{Off: true},
		Backoff: func(int) time.Duration { return headWait },
		Run:     func(_ context.Context, c reliable.Change[Order]) error { return w.ran(c.After(), clock()) },
	})
	return r
}

// ran notes a run.
func (w *observer) ran(o *Order, at time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case o.Customer != stuckCustomer:
		w.begun[o.ID] = at
	case o.Status == "head":
		if w.attempts++; w.attempts <= headFails {
			return fmt.Errorf("failure %d", w.attempts)
		}
	default:
		if w.attempts <= headFails {
			w.early++
		}
		if w.followers++; w.followers == headFollowers {
			close(w.done)
		}
	}
	return nil
}

// latencies returns, sorted, those of the orders that were committed in a time.
func (w *observer) latencies(from, to time.Duration) (all []time.Duration, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, at := range w.committed {
		if at < from || at > to {
			continue
		}
		begun, ok := w.begun[id]
		if !ok {
			return nil, fmt.Errorf("order %d was not run", id)
		}
		all = append(all, begun-at)
	}
	if len(all) == 0 {
		return nil, errors.New("no other order was committed")
	}
	slices.Sort(all)
	return all, nil
}

// headFailing lets the head of a key fail while others write and are worked on,
// and prints the latencies of the others before and meanwhile. It returns the
// 99th percentile of the latter.
func (b *bench) headFailing(ctx context.Context) (p99 time.Duration, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errSlow)
	defer cancel()
	started := time.Now()
	w := newObserver()
	var first, from, to time.Duration
	err = b.in(ctx, func(p place) error {
		db, closed, err := openOurs(p.url, reliable.Config{Registry: w.orders()})
		if err != nil {
			return err
		}
		defer func() { _ = closed() }()
		if err := errors.Join(p.seed(ctx, db, 0, 0), stampCommits(db)); err != nil {
			return err
		}
		working, stop := context.WithCancel(ctx)
		defer stop()
		ended := make(chan error, 1)
		go func() {
			ended <- (&worker.Worker{DB: db, Threads: orderThreads, Processor: &processors.OrderedByCausalityKey{}}).Run(working)
		}()
		stopWriters := w.write(ctx, db)
		first = clock() + time.Second // the worker starts, and takes the lanes
		wait(ctx, time.Second+calm)
		from = clock()
		err = createStuck(db.WithContext(ctx))
		if err == nil {
			select {
			case <-w.done:
			case err = <-ended:
				ended <- err
			case <-ctx.Done():
				err = context.Cause(ctx)
			}
		}
		to = clock()
		err = errors.Join(err, stopWriters())
		if err == nil {
			_, err = p.until(ctx, fmt.Sprintf("SELECT NOT EXISTS (SELECT FROM %s.outbox_entries)", p.schema))
		}
		stop()
		return errors.Join(err, <-ended)
	})
	if err != nil {
		return 0, err
	}
	before, err := w.latencies(first, from)
	if err != nil {
		return 0, err
	}
	meanwhile, err := w.latencies(from, to)
	if err != nil {
		return 0, err
	}
	p99 = percentile(meanwhile, 99)
	fmt.Printf("a head fails %d times within %s, %d of its %d followers began before it was done; %d orders of %d other keys meanwhile: p50 %s, p99 %s; before: p50 %s, p99 %s  %s\n",
		headFails, (to - from).Round(10*time.Millisecond), w.early, headFollowers, len(meanwhile), otherKeys,
		short(percentile(meanwhile, 50)), short(p99), short(percentile(before, 50)), short(percentile(before, 99)), lap(started))
	return p99, nil
}

// write has writers commit orders of other keys until they are stopped.
func (w *observer) write(ctx context.Context, db *gorm.DB) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	errs := make([]error, otherWriters)
	var next atomic.Int64
	var running sync.WaitGroup
	for i := range otherWriters {
		running.Go(func() {
			for ctx.Err() == nil {
				s := new(stamp)
				o := order()
				o.Customer = fmt.Sprintf("customer-%d", next.Add(1)%otherKeys)
				stamped := context.WithValue(context.WithoutCancel(ctx), stampKey{}, s)
				if errs[i] = db.WithContext(stamped).Create(&o).Error; errs[i] != nil {
					return
				}
				w.mu.Lock()
				w.committed[o.ID] = s.at
				w.mu.Unlock()
				wait(ctx, otherPause)
			}
		})
	}
	return func() error { cancel(); running.Wait(); return errors.Join(errs...) }
}

// wait waits, unless ctx is done.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// createStuck commits the head of the key, and its followers.
func createStuck(db *gorm.DB) error {
	for i := range 1 + headFollowers {
		o := order()
		o.Customer, o.Status = stuckCustomer, "follower"
		if i == 0 {
			o.Status = "head"
		}
		if err := db.Create(&o).Error; err != nil {
			return err
		}
	}
	return nil
}
