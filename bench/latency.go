package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// waking is a way in which a worker learns of a commit.
type waking struct {
	name  string
	here  bool                 // the worker is in this process, and woken by it
	deaf  bool                 // there is no NOTIFY, and nobody listens
	pause func() time.Duration // between a callback and the next commit
	lanes int                  // idle systems at the same time, each with its own worker: they share the commits
}

// arrival says when the callback of an order began.
type arrival struct {
	id uint
	at time.Duration // by clock
}

// wakings returns the ways that are measured. Between two commits the worker
// has time to become idle; where it polls, a commit falls anywhere between two
// polls.
func wakings() []waking {
	idle := func() time.Duration { return 15*time.Millisecond + rand.N(10*time.Millisecond) }
	return []waking{
		{name: "inprocess", here: true, deaf: true, pause: idle, lanes: 1},
		{name: "notify", pause: idle, lanes: 1},
		{name: "poll", deaf: true, pause: func() time.Duration { return rand.N(worker.DefaultPollInterval) }, lanes: 8},
	}
}

// latency measures how long after its commit a callback begins, in a system
// where nothing else happens.
func latency(ctx context.Context, b *bench, o options) (results, error) {
	title("latency: from the COMMIT of one order to the beginning of its callback, %d commits each, idle, poll interval %s",
		o.commits, worker.DefaultPollInterval)
	fmt.Printf("%-12s %-22s %9s %9s %9s\n", "worker", "transaction", "p50", "p99", "max")
	var line []string
	for _, w := range wakings() {
		var worst time.Duration
		for _, write := range []struct {
			name string
			operation
		}{{"db.Create", createStamped}, {"reliable.Transaction", transactStamped}} {
			begun := time.Now()
			all, err := b.sample(ctx, w, write.operation, o.commits)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", w.name, write.name, err)
			}
			slices.Sort(all)
			p99 := percentile(all, 99)
			fmt.Printf("%-12s %-22s %9s %9s %9s  %s\n", w.name, write.name, short(percentile(all, 50)), short(p99), short(all[len(all)-1]), lap(begun))
			worst = max(worst, p99)
		}
		line = append(line, fmt.Sprintf("latency_%s_p99=%s", w.name, short(worst)))
	}
	return results{strings.Join(line, " ")}, nil
}

// percentile returns the least of the sorted values that p percent of them do
// not exceed.
func percentile(sorted []time.Duration, p int) time.Duration {
	return sorted[(len(sorted)*p+99)/100-1]
}

func short(d time.Duration) string { return fmt.Sprintf("%.2fms", float64(d.Microseconds())/1000) }

// sample returns the latencies of that many commits.
func (b *bench) sample(ctx context.Context, w waking, write operation, commits int) ([]time.Duration, error) {
	if err := b.room(ctx, w.lanes*(w.elsewhere().connections()+3)); err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var all []time.Duration
	errs := make([]error, w.lanes)
	var done sync.WaitGroup
	for lane := range w.lanes {
		done.Go(func() {
			share := (commits + w.lanes - 1 - lane) / w.lanes
			errs[lane] = b.in(ctx, func(p place) error {
				found, err := p.lane(ctx, w, write, share)
				mu.Lock()
				defer mu.Unlock()
				all = append(all, found...)
				return err
			})
		})
	}
	done.Wait()
	return all, errors.Join(errs...)
}

// lane commits one order at a time and waits for its callback.
func (p place) lane(ctx context.Context, w waking, write operation, commits int) (all []time.Duration, err error) {
	begun := make(chan arrival, 16)
	registry := nothing.registry(func(id uint) { begun <- arrival{id, clock()} })
	db, closed, err := openOurs(p.url, reliable.Config{Registry: registry, NoNotify: w.deaf})
	if err != nil {
		return nil, err
	}
	defer func() { _ = closed() }()
	if err := errors.Join(p.seed(ctx, db, 0, 0), stampCommits(db)); err != nil {
		return nil, err
	}
	stop, err := w.work(ctx, p, db, begun)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	const warm = 3 // connections are opened, statements prepared
	for i := range warm + commits {
		s := new(stamp)
		if err := write(db.WithContext(context.WithValue(ctx, stampKey{}, s)), 0); err != nil {
			return nil, err
		}
		if s.at == 0 {
			return nil, errors.New("the commit was not noticed")
		}
		at, err := s.ran(ctx, begun)
		if err != nil {
			return nil, err
		}
		if i >= warm {
			all = append(all, at-s.at)
		}
		select {
		case <-time.After(w.pause()):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return all, nil
}

// ran waits for the callback of the stamp's order.
func (s *stamp) ran(ctx context.Context, begun <-chan arrival) (time.Duration, error) {
	patience := time.NewTimer(30 * time.Second)
	defer patience.Stop()
	for {
		select {
		case r := <-begun:
			if r.id == s.id {
				return r.at, nil
			}
		case <-patience.C:
			return 0, fmt.Errorf("the callback of order %d did not begin within 30 s", s.id)
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// elsewhere is the worker in a process of its own.
func (w waking) elsewhere() program { return program{Work: nothing, NoListen: w.deaf, Report: true} }

// work starts the worker.
func (w waking) work(ctx context.Context, p place, db *gorm.DB, begun chan<- arrival) (stop func() error, err error) {
	if w.here {
		working, cancel := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- (&worker.Worker{DB: db, NoListen: w.deaf}).Run(working) }()
		return func() error { cancel(); return <-ended }, nil
	}
	as := w.elsewhere()
	as.URL = p.url
	one, err := start(ctx, as, func(id uint, at time.Duration) { begun <- arrival{id, at} })
	if err != nil {
		return nil, err
	}
	return one.stop, one.begin()
}

// createStamped creates an order in the transaction that GORM opens for it.
func createStamped(db *gorm.DB, _ uint) error {
	o := order()
	err := db.Create(&o).Error
	stampOf(db).id = o.ID
	return err
}

// transactStamped creates an order in reliable.Transaction. The stamp is that of
// the function's end: writing the entry counts, too.
func transactStamped(db *gorm.DB, _ uint) error {
	o := order()
	err := reliable.Transaction(db, func(tx *gorm.DB) error {
		err := tx.Create(&o).Error
		stampOf(db).at = clock()
		return err
	})
	stampOf(db).id = o.ID
	return err
}

// stamp says of which order a commit was, and when it was sent.
type stamp struct {
	id uint
	at time.Duration
}

type stampKey struct{}

func stampOf(db *gorm.DB) *stamp {
	s, _ := db.Statement.Context.Value(stampKey{}).(*stamp)
	return s
}

// stampCommits makes GORM note the time just before it commits the transaction
// of a create.
func stampCommits(db *gorm.DB) error {
	return db.Callback().Create().Before("gorm:commit_or_rollback_transaction").Register("bench:stamp", func(tx *gorm.DB) {
		if s := stampOf(tx); s != nil {
			s.at = clock()
		}
	})
}
