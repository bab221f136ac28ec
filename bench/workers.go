package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Numbers of worker processes that share a backlog.
const (
	few  = 2
	many = 16
)

// workers compares many worker processes on one backlog with few; then threads
// within one process.
func workers(ctx context.Context, b *bench, o options) (results, error) {
	rounds := or(o.rounds, 3)
	title("workers: %d entries, %d worker processes and %d, at the defaults but for LISTEN, which a drain does not need", o.entries, few, many)
	as := single()
	as.NoListen = true // 100 connections are enough for all
	if err := b.room(ctx, many*as.connections()); err != nil {
		return nil, err
	}
	var ratios []float64
	for round := range rounds {
		var rates [2]float64
		for i, n := range []int{few, many} {
			rate, err := b.shared(ctx, o.entries, n, as)
			if err != nil {
				return nil, fmt.Errorf("%d processes: %w", n, err)
			}
			rates[i] = rate
		}
		ratios = append(ratios, rates[1]/rates[0])
		fmt.Printf("round %d   %d processes %8.0f entries/s   %d processes %8.0f entries/s   ratio %.2f\n",
			round+1, few, rates[0], many, rates[1], ratios[round])
	}
	spread, err := b.threads(ctx, o.entries)
	if err != nil {
		return nil, err
	}
	m, lo, hi := median(ratios)
	fmt.Printf("\n%d processes over %d: median %.2f, from %.2f to %.2f\n", many, few, m, lo, hi)
	return results{fmt.Sprintf("workers%d_over_%d=%.2f", many, few, m), fmt.Sprintf("threads16_over_1=%.2f", spread)}, nil
}

// threads sweeps the threads of one process. It returns the rate of the most by
// that of one.
func (b *bench) threads(ctx context.Context, entries int) (ratio float64, err error) {
	fmt.Printf("\n%-32s %s\n", "one process", costColumns)
	var rates []float64
	for _, threads := range []int{1, 2, 4, 8, 16} {
		c := contender{name: fmt.Sprintf("Threads %d", threads), drain: func(ctx context.Context) (cost, error) {
			return b.ours(ctx, entries, ours{threads: threads, completion: processors.Archive})
		}}
		if err := c.run(ctx); err != nil {
			return 0, err
		}
		rates = append(rates, c.costs[0].rate())
	}
	return rates[len(rates)-1] / rates[0], nil
}

// shared returns the rate at which n worker processes drain a backlog.
func (b *bench) shared(ctx context.Context, entries, n int, as program) (rate float64, err error) {
	err = b.in(ctx, func(p place) error {
		if err := p.prepare(ctx, entries, entries); err != nil {
			return err
		}
		c, err := p.drainedBy(ctx, n, as, span{0, entries})
		rate = float64(entries) / c.took.Seconds()
		if err != nil {
			return err
		}
		return p.archived(ctx, processors.Archive, entries)
	})
	return rate, err
}

// prepare seeds a schema for worker processes.
func (p place) prepare(ctx context.Context, entries, orders int) error {
	db, closed, err := openOurs(p.url, reliable.Config{Registry: nothing.registry(func(uint) {})})
	if err != nil {
		return err
	}
	return errors.Join(p.seed(ctx, db, entries, orders), closed(), p.settled(ctx))
}

// room checks that the server has that many connections to give. Others may
// leave within a minute.
func (b *bench) room(ctx context.Context, n int) error {
	for deadline := time.Now().Add(time.Minute); ; {
		var most, used int
		err := b.ask(ctx, `SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
			(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')`, &most, &used)
		if err != nil || most-used >= n {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the server has %d connections free, of %d: %d are needed: raise max_connections", most-used, most, n)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Second):
		}
	}
}
