package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// Who writes and who works while order is checked.
const (
	producers    = 8
	orderWorkers = 2
	orderThreads = 8
	orderRuns    = 12_000 // transactions of all producers
	orderKeys    = 300
)

// Account is a row that many transactions update one after the other.
type Account struct {
	ID     uint
	Serial int // how many updates there were
}

// posting is a run of the callback.
type posting struct {
	account    uint
	entry      int64
	serial     int
	begun, end time.Duration // by clock
}

// ledger keeps runs as they end.
type ledger struct {
	mu   sync.Mutex
	runs []posting
}

func (l *ledger) add(r posting) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.runs = append(l.runs, r)
}

func (l *ledger) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.runs)
}

// violations counts runs that did not begin when those before them in their key
// had ended, and those that are not of the update that follows the one before:
// by entry id, the serials of a key are 1, 2, 3, ... It also says of the first.
func (l *ledger) violations() (n int, first string) {
	slices.SortFunc(l.runs, func(a, b posting) int {
		return cmp.Or(cmp.Compare(a.account, b.account), cmp.Compare(a.entry, b.entry))
	})
	var before posting
	for _, r := range l.runs {
		if r.account != before.account {
			before = posting{}
		}
		if r.serial != before.serial+1 || r.begun < before.end {
			if n++; n == 1 {
				first = fmt.Sprintf("account %d: entry %d, update %d, ran from %s to %s; before it entry %d, update %d, until %s",
					r.account, r.entry, r.serial, r.begun, r.end, before.entry, before.serial, before.end)
			}
		}
		before = r
	}
	return n, first
}

// accounts returns a registry with a callback that takes up to a millisecond.
func (l *ledger) accounts() *reliable.Registry {
	r := new(reliable.Registry)
	reliable.Register(r, reliable.Model[Account]{CausalityKey: func(a *Account) string { return fmt.Sprintf("account-%d", a.ID) }})
	reliable.AfterCommit(r, reliable.Callback[Account]{
		Name: "post", On: reliable.OpUpdate, NoModel: true,
		Run: func(ctx context.Context, c reliable.Change[Account]) error {
			begun := clock()
			select {
			case <-time.After(rand.N(time.Millisecond)):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			l.add(posting{c.Model.ID, c.Entry.ID, c.After().Serial, begun, clock()})
			return nil
		},
	})
	return r
}

// checkOrder has producers write while workers run, and returns how often the
// order of a key was not kept.
func (b *bench) checkOrder(ctx context.Context) (violations int, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errSlow)
	defer cancel()
	begun := time.Now()
	var l ledger
	err = b.in(ctx, func(p place) error {
		db, closed, err := openOurs(p.url, reliable.Config{Registry: l.accounts()})
		if err != nil {
			return err
		}
		defer func() { _ = closed() }()
		if err := errors.Join(db.WithContext(ctx).AutoMigrate(&Account{}), p.seed(ctx, db, 0, 0), db.Create(accounts()).Error); err != nil {
			return err
		}
		stop, err := p.orderWorkers(ctx, &l)
		if err != nil {
			return err
		}
		err = produce(ctx, db)
		if err == nil {
			_, err = p.until(ctx, fmt.Sprintf("SELECT NOT EXISTS (SELECT FROM %s.outbox_entries)", p.schema))
		}
		return errors.Join(err, stop())
	})
	if err != nil {
		return 0, err
	}
	if n := l.len(); n != orderRuns {
		return 0, fmt.Errorf("%d updates committed, %d were run", orderRuns, n)
	}
	violations, first := l.violations()
	fmt.Printf("%d producers, %d updates of %d rows, %d workers with %d threads: %d violations of order %s %s\n",
		producers, orderRuns, orderKeys, orderWorkers, orderThreads, violations, first, lap(begun))
	return violations, nil
}

func accounts() []Account { return make([]Account, orderKeys) }

// produce updates rows from all producers at the same time: each update locks
// its row, draws its entry's id and commits.
func produce(ctx context.Context, db *gorm.DB) error {
	errs := make([]error, producers)
	var running sync.WaitGroup
	for i := range producers {
		running.Go(func() {
			random := rand.New(rand.NewPCG(3, uint64(i)))
			zipf := rand.NewZipf(random, 1.1, 10, orderKeys-1)
			for range orderRuns / producers {
				account := &Account{ID: uint(zipf.Uint64()) + 1}
				if errs[i] = db.WithContext(ctx).Model(account).Update("serial", gorm.Expr("serial + 1")).Error; errs[i] != nil {
					return
				}
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// orderWorkers starts workers, each with connections of its own.
func (p place) orderWorkers(ctx context.Context, l *ledger) (stop func() error, err error) {
	working, cancel := context.WithCancel(ctx)
	errs := make([]error, orderWorkers)
	var running sync.WaitGroup
	stop = func() error { cancel(); running.Wait(); return errors.Join(errs...) }
	for i := range orderWorkers {
		db, closed, err := openOurs(p.url, reliable.Config{Registry: l.accounts()})
		if err != nil {
			return nil, errors.Join(err, stop())
		}
		running.Go(func() {
			err := (&worker.Worker{DB: db, Threads: orderThreads, Processor: &processors.OrderedByCausalityKey{}}).Run(working)
			errs[i] = errors.Join(err, closed())
		})
	}
	return stop, nil
}
