package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// ours is our side: one process, at its defaults but for what is set.
type ours struct {
	threads    int
	completion processors.Completion
	work       work
	keys       []string // causality keys of the entries; nil is none, and no order
}

// processor returns what the worker claims with.
func (o ours) processor() processors.EntriesProcessor {
	if o.keys != nil {
		return &processors.OrderedByCausalityKey{Completion: o.completion}
	}
	return &processors.NonOrdered{Completion: o.completion}
}

// defaults returns the settings that are ours, in words.
func defaults() string {
	return fmt.Sprintf("Threads %d, BatchSize adaptive to %d, FinishGroup %d or %s, PollInterval %s, LeaseTTL %s, completion %s, 1 process",
		worker.DefaultThreads, worker.MaxBatchSize, worker.DefaultFinishGroup, worker.DefaultFinishDelay, worker.DefaultPollInterval,
		processors.DefaultLeaseTTL, processors.Archive)
}

// ours drains a backlog that the plugin recorded.
func (b *bench) ours(ctx context.Context, entries int, o ours) (c cost, err error) {
	err = b.in(ctx, func(p place) error {
		var runs, sum atomic.Int64
		ran := make(chan struct{})
		registry := cmp.Or(o.work, nothing).registry(func(id uint) {
			sum.Add(int64(id))
			if runs.Add(1) == int64(entries) {
				close(ran)
			}
		})
		config := reliable.Config{Registry: registry}
		if o.keys != nil {
			if err := p.key(ctx, o.keys, &config); err != nil {
				return err
			}
		}
		db, closed, err := openOurs(p.url, config)
		if err != nil {
			return err
		}
		defer func() { _ = closed() }()
		if err := errors.Join(p.seed(ctx, db, entries, entries), p.settled(ctx)); err != nil {
			return err
		}
		m, err := p.begin(ctx)
		if err != nil {
			return err
		}
		defer m.close(ctx)
		working, stop := context.WithCancel(ctx)
		defer stop()
		ended := make(chan error, 1)
		go func() {
			ended <- (&worker.Worker{DB: db, Threads: o.threads, Processor: o.processor()}).Run(working)
		}()
		select {
		case <-ran:
		case err := <-ended:
			return fmt.Errorf("the worker ended after %d entries: %w", runs.Load(), cmp.Or(err, context.Cause(ctx)))
		}
		at, err := p.until(ctx, p.drained(span{0, entries})...)
		if err != nil {
			stop()
			return errors.Join(err, <-ended)
		}
		c, err = m.end(ctx, entries, at, func() error {
			stop()
			return errors.Join(<-ended, closed())
		})
		if want := int64(entries) * int64(entries+1) / 2; err == nil && o.work != record && runs.Load() == int64(entries) && sum.Load() != want {
			return fmt.Errorf("the ids of the models sum to %d, want %d", sum.Load(), want)
		}
		if err != nil {
			return err
		}
		return p.archived(ctx, o.completion, entries)
	})
	return c, err
}

// archived checks that the entries are where they belong.
func (p place) archived(ctx context.Context, completion processors.Completion, entries int) error {
	if completion == processors.Delete {
		entries = 0
	}
	asked, cancel := context.WithTimeoutCause(ctx, 10*time.Second, fmt.Errorf("the history does not have %d entries", entries))
	defer cancel()
	_, err := p.until(asked, fmt.Sprintf("SELECT count(*) = %d FROM %s.outbox_history", entries, p.schema))
	return err
}
