package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// The deadlock workload: each writer updates two of a few rows per transaction,
// in any order.
const (
	deadlockWriters = 8
	deadlockRows    = 12
	deadlockOps     = 100 // transactions of a writer, per turn
)

// deadlocks counts the deadlocks of the same transactions without the plugin,
// without it but with a locking SELECT before each write, and with it.
func deadlocks(ctx context.Context, b *bench, o options) (found results, err error) {
	rounds := or(o.rounds, 10)
	fmt.Printf("\ntransactions of two updates in any order, %d writers, %d rows, %d transactions a round; deadlocks\n\n",
		deadlockWriters, deadlockRows, deadlockWriters*deadlockOps)
	impatient := &bench{url: b.url, settings: map[string]string{"deadlock_timeout": "20ms"}}
	err = impatient.pair(ctx, deadlockWriters, func(plain, captured *side) error {
		for _, s := range []*side{plain, captured} {
			orders := make([]Order, deadlockRows)
			for i := range orders {
				orders[i] = order()
			}
			if err := s.db.Create(&orders).Error; err != nil {
				return err
			}
		}
		update := func(tx *gorm.DB, id uint) error {
			return tx.Model(&Order{ID: id}).Update("total", gorm.Expr("total + 1")).Error
		}
		locked := func(tx *gorm.DB, id uint) error {
			if err := tx.Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Take(&Order{}, id).Error; err != nil {
				return err
			}
			return update(tx, id)
		}
		var sums [3]int
		for round := range rounds {
			var counts [3]int
			for i, turn := range []struct {
				side  *side
				write operation
			}{{plain, update}, {plain, locked}, {captured, update}} {
				n, err := collide(turn.side.db.WithContext(ctx), uint64(round), turn.write)
				if err != nil {
					return err
				}
				counts[i] = n
				sums[i] += n
			}
			fmt.Printf("round %-3d  plain %4d   locked %4d   captured %4d\n", round+1, counts[0], counts[1], counts[2])
		}
		found = results{fmt.Sprintf("deadlocks plain=%d locked=%d captured=%d", sums[0], sums[1], sums[2])}
		return nil
	})
	return found, err
}

// collide runs one turn and returns how many transactions were victims.
func collide(db *gorm.DB, seed uint64, write operation) (int, error) {
	var victims atomic.Int64
	errs := make([]error, deadlockWriters)
	var done sync.WaitGroup
	for i := range deadlockWriters {
		done.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(i)))
			for range deadlockOps {
				pair := random.Perm(deadlockRows)[:2]
				err := db.Transaction(func(tx *gorm.DB) error {
					if err := write(tx, uint(1+pair[0])); err != nil {
						return err
					}
					return write(tx, uint(1+pair[1]))
				})
				var refused *pgconn.PgError
				switch {
				case errors.As(err, &refused) && refused.Code == "40P01":
					victims.Add(1)
				case err != nil:
					errs[i] = err
					return
				}
			}
		})
	}
	done.Wait()
	return int(victims.Load()), errors.Join(errs...)
}
