package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// crowded returns the causality keys of that many entries, before one of each
// cold key. They are all of one key if it is hot, otherwise spread evenly over
// as many keys as there are cold ones. By name, neither kind comes before the
// other.
func crowded(entries, cold int, hot bool) []string {
	keys := make([]string, entries+cold)
	for i := range keys {
		number := 1
		switch {
		case i >= entries:
			number = 2 * (i - entries)
		case !hot:
			number = 2*(i%cold) + 1
		}
		keys[i] = fmt.Sprintf("customer-%d", number)
	}
	return keys
}

// hotKey returns how long it takes until the cold keys are done beside a key
// with that many entries, all of them older, by how long it takes if these are
// spread evenly over other keys.
func (b *bench) hotKey(ctx context.Context, entries, cold, threads int) (ratio float64, err error) {
	var took [2]time.Duration
	for i, hot := range []bool{false, true} {
		begun := time.Now()
		var others int
		if took[i], others, err = b.cold(ctx, crowded(entries, cold, hot), cold, threads); err != nil {
			return 0, err
		}
		of := "spread over as many keys"
		if hot {
			of = "of one key"
		}
		fmt.Printf("%d cold keys after %d entries %s: done after %s, with %d of the others  %s\n",
			cold, entries, of, took[i].Round(10*time.Millisecond), others, lap(begun))
	}
	return took[1].Seconds() / took[0].Seconds(), nil
}

// cold lets ours work until the entries of the cold keys, which are the last,
// were run, and returns how many others were by then.
func (b *bench) cold(ctx context.Context, keys []string, cold, threads int) (took time.Duration, others int, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errSlow)
	defer cancel()
	err = b.in(ctx, func(p place) error {
		var runs, coldRuns atomic.Int64
		ran := make(chan struct{})
		config := reliable.Config{Registry: nothing.registry(func(id uint) {
			runs.Add(1)
			if int(id) > len(keys)-cold && coldRuns.Add(1) == int64(cold) {
				close(ran)
			}
		})}
		if err := p.key(ctx, keys, &config); err != nil {
			return err
		}
		db, closed, err := openOurs(p.url, config)
		if err != nil {
			return err
		}
		defer func() { _ = closed() }()
		if err := errors.Join(p.seed(ctx, db, len(keys), 0), p.settled(ctx)); err != nil {
			return err
		}
		working, stop := context.WithCancel(ctx)
		defer stop()
		ended := make(chan error, 1)
		begun := time.Now()
		go func() {
			ended <- (&worker.Worker{DB: db, Threads: threads, Processor: ours{keys: keys}.processor()}).Run(working)
		}()
		select {
		case <-ran:
			took, others = time.Since(begun), int(runs.Load())-cold
			stop()
			return <-ended
		case err := <-ended:
			return fmt.Errorf("the worker ended after %d entries: %w", runs.Load(), cmp.Or(err, context.Cause(ctx)))
		}
	})
	return took, others, err
}
