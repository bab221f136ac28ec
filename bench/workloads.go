package main

import (
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Workloads whose ratios make the result.
const (
	create1  = "create"
	batch100 = "batch of 100 creates"
	tx10     = "reliable.Transaction" // of ten creates
)

// batch10000 is for one writer only: it is about the statements of one write.
const batch10000 = "batch of 10,000"

// operation is one write of the application's, of that id if it needs one.
type operation func(db *gorm.DB, id uint) error

// workload is a kind of write.
type workload struct {
	name            string
	operations      int  // of a writer, per turn
	rows            int  // per operation
	seeded          bool // the operation's row is there
	plain, captured operation
}

func workloads() []workload {
	both := func(name string, operations, rows int, seeded bool, op operation) workload {
		return workload{name, operations, rows, seeded, op, op}
	}
	ten := func(transaction func(db *gorm.DB, fn func(tx *gorm.DB) error) error) operation {
		return func(db *gorm.DB, _ uint) error {
			return transaction(db, func(tx *gorm.DB) error {
				for range 10 {
					if err := tx.Create(new(order())).Error; err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	gorms := ten(func(db *gorm.DB, fn func(tx *gorm.DB) error) error { return db.Transaction(fn) })
	return []workload{
		both(create1, 400, 1, false, func(db *gorm.DB, _ uint) error { return db.Create(new(order())).Error }),
		both("update of one row", 400, 1, true, func(db *gorm.DB, id uint) error {
			return db.Model(&Order{ID: id}).Updates(map[string]any{"status": "paid"}).Error
		}),
		both("delete of one row", 400, 1, true, func(db *gorm.DB, id uint) error { return db.Delete(&Order{ID: id}).Error }),
		both(batch100, 25, 100, false, func(db *gorm.DB, _ uint) error { return createAtOnce(db, 100) }),
		both(batch10000, 1, 10_000, false, func(db *gorm.DB, _ uint) error { return createAtOnce(db, 10_000) }),
		both("db.Transaction of 10", 60, 10, false, gorms),
		{tx10, 60, 10, false, gorms, ten(func(db *gorm.DB, fn func(tx *gorm.DB) error) error { return reliable.Transaction(db, fn) })},
	}
}
