package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// side is a database that a workload writes to, in a schema of its own.
type side struct {
	*trips
	db     *gorm.DB
	schema string
	closed func()
}

// write runs each workload without the plugin and with it, by turns, and
// prints the rates, their ratios and the round trips of an operation. The
// result takes the worse of one and eight writers. The garbage collector is told
// that the heap is four times what it is, on both sides: next to nothing is alive
// here, and it would run every few writes, as it does in no application.
func write(ctx context.Context, b *bench, o options) (results, error) {
	rounds := or(o.rounds, 20)
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	fmt.Printf("\nGORM writes, rows/s, %d rounds; trips are an operation's\n\n", rounds)
	fmt.Printf("%-22s %7s %9s %9s %6s %12s %9s\n", "", "writers", "plain", "captured", "ratio", "range", "trips")
	worst := make(map[string]float64)
	for _, writers := range []int{1, 8} {
		err := b.pair(ctx, writers, func(plain, captured *side) error {
			for _, w := range workloads() {
				if w.name == batch10000 && writers > 1 {
					continue
				}
				ratio, err := b.compare(ctx, w, plain, captured, writers, rounds)
				if err != nil {
					return fmt.Errorf("%s: %w", w.name, err)
				}
				if least, ok := worst[w.name]; !ok || ratio < least {
					worst[w.name] = ratio
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return results{fmt.Sprintf("write create=%.2f batch100=%.2f tx10=%.2f", worst[create1], worst[batch100], worst[tx10])}, nil
}

// pair opens a database without the plugin and one with it.
func (b *bench) pair(ctx context.Context, connections int, f func(plain, captured *side) error) error {
	return b.in(ctx, func(p place) error {
		plain, err := openSide(p, connections)
		if err != nil {
			return err
		}
		defer plain.closed()
		return b.in(ctx, func(p place) error {
			captured, err := openSide(p, connections)
			if err != nil {
				return err
			}
			defer captured.closed()
			registry := new(reliable.Registry)
			reliable.AfterCommit(registry, reliable.Callback[Order]{
				Name: "nothing", Run: func(context.Context, reliable.Change[Order]) error { return nil },
			})
			if err := errors.Join(captured.db.Use(reliable.New(reliable.Config{Registry: registry})), migrations.Up(ctx, captured.db)); err != nil {
				return err
			}
			return f(plain, captured)
		})
	})
}

func openSide(p place, connections int) (*side, error) {
	s := &side{trips: new(trips), schema: p.schema}
	var err error
	if s.db, s.closed, err = s.open(p.url, connections); err != nil {
		return nil, err
	}
	return s, s.db.AutoMigrate(&Order{})
}

// compare runs a workload by turns and returns the ratio of the rates.
func (b *bench) compare(ctx context.Context, w workload, plain, captured *side, writers, rounds int) (float64, error) {
	for _, table := range []string{plain.schema + ".orders", captured.schema + ".orders", captured.schema + ".outbox_entries"} {
		if err := b.exec(ctx, "TRUNCATE "+table); err != nil {
			return 0, err
		}
	}
	if err := b.settle(ctx, plain.schema+".orders", captured.schema+".orders", captured.schema+".outbox_entries"); err != nil {
		return 0, err
	}
	var without, with, ratios []float64
	var tripsWithout, tripsWith int64
	for i := range rounds + 1 { // the first one warms up
		first := 1 + i*writers*w.operations
		a, trips, err := b.turn(ctx, w, plain, w.plain, first, writers)
		if err != nil {
			return 0, err
		}
		tripsWithout = trips
		c, trips, err := b.turn(ctx, w, captured, w.captured, first, writers)
		if err != nil {
			return 0, err
		}
		tripsWith = trips
		if i > 0 {
			without, with, ratios = append(without, a), append(with, c), append(ratios, c/a)
		}
	}
	ratio, lo, hi := median(ratios)
	slow, _, _ := median(without)
	fast, _, _ := median(with)
	n := float64(writers * w.operations)
	fmt.Printf("%-22s %7d %9.0f %9.0f %6.2f  %.2f to %.2f %4.3g %4.3g\n", w.name, writers, slow, fast, ratio, lo, hi,
		float64(tripsWithout)/n, float64(tripsWith)/n)
	return ratio, nil
}

// turn runs the operations of a workload on one side, shared by the writers,
// and returns rows per second and round trips.
func (b *bench) turn(ctx context.Context, w workload, s *side, operation operation, first, writers int) (rate float64, trips int64, err error) {
	n := writers * w.operations
	if w.seeded {
		seed := fmt.Sprintf("INSERT INTO %s.orders (id, customer, email, status, total, created_at) "+
			"SELECT id, 'Ann Example', 'ann@example.com', 'new', 1900, now() FROM generate_series(%d, %d) id", s.schema, first, first+n-1)
		if err := b.exec(ctx, seed); err != nil {
			return 0, 0, err
		}
	}
	errs := make([]error, writers)
	var done sync.WaitGroup
	db := s.db.WithContext(ctx)
	before, begun := s.n.Load(), time.Now()
	for i := range writers {
		done.Go(func() {
			for id := first + i*w.operations; id < first+(i+1)*w.operations && errs[i] == nil; id++ {
				errs[i] = operation(db, uint(id))
			}
		})
	}
	done.Wait()
	took := time.Since(begun).Seconds()
	return float64(n*w.rows) / took, s.n.Load() - before, errors.Join(errs...)
}
