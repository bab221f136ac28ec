package programs_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/glebarez/sqlite"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"

	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// contended are workloads of one writer among several. With deferred
// transactions, SQLite refuses at once to let one write that has read before
// somebody else wrote.
func contended() map[string]func(db *gorm.DB, i int) error {
	one := func(tx *gorm.DB, i int) error {
		return errors.Join(
			tx.Model(&Part{ID: 1}).Update("qty", gorm.Expr("qty + 1")).Error,
			tx.Model(&Part{}).Where("parts < ?", i).Update("parts", gorm.Expr("parts + 1")).Error,
			tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&Part{ID: uint(i%3 + 1), Qty: i}).Error, //nolint:gosec // small
			tx.Create(&[]Part{{Qty: i}, {Qty: i}}).Error,
			tx.Where("qty = ? AND id > 3", i-1).Delete(&Part{}).Error,
		)
	}
	return map[string]func(db *gorm.DB, i int) error{
		"single writes": one,
		"single writes without a transaction": func(db *gorm.DB, i int) error {
			return one(db.Session(&gorm.Session{SkipDefaultTransaction: true}), i)
		},
		"transactions that write first": func(db *gorm.DB, i int) error {
			return db.Transaction(func(tx *gorm.DB) error { return one(tx, i) })
		},
		"transactions that upsert first": func(db *gorm.DB, i int) error {
			return db.Transaction(func(tx *gorm.DB) error {
				return errors.Join(tx.Save(&[]Part{{ID: 2, Qty: i}}).Error, one(tx, i))
			})
		},
		"transactions that update by condition first": func(db *gorm.DB, i int) error {
			return db.Transaction(func(tx *gorm.DB) error {
				return errors.Join(tx.Model(&Part{}).Where("qty > ?", 0).Update("qty", i).Error, one(tx, i))
			})
		},
		"savepoints": func(db *gorm.DB, i int) error {
			return db.Transaction(func(tx *gorm.DB) error {
				return tx.Transaction(func(tx *gorm.DB) error { return one(tx, i) })
			})
		},
		"transactions that read first": func(db *gorm.DB, i int) error {
			return db.Transaction(func(tx *gorm.DB) error {
				var n int64
				return errors.Join(tx.Model(&Part{}).Count(&n).Error, one(tx, i))
			})
		},
	}
}

// With the plugin SQLite tells no writer that the database is locked where it
// does not without it.
func TestLocked(t *testing.T) {
	const writers, rounds = 6, 10
	for _, begin := range []string{"deferred", "immediate"} {
		for name, work := range contended() {
			t.Run(begin+"/"+name, func(t *testing.T) {
				locked := make(map[bool]int64)
				for _, captured := range []bool{false, true} {
					db := file(t, begin, captured)
					var count atomic.Int64
					var wait sync.WaitGroup
					for range writers {
						wait.Go(func() {
							for i := range rounds {
								err := work(db.Session(&gorm.Session{}), i)
								switch {
								case err == nil:
								case strings.Contains(err.Error(), "locked"):
									count.Add(1)
								default:
									t.Error(err)
								}
							}
						})
					}
					wait.Wait()
					locked[captured] = count.Load()
				}
				t.Logf("locked: %d without the plugin, %d with it", locked[false], locked[true])
				if locked[false] == 0 && locked[true] > 0 {
					t.Errorf("the database was locked %d times, and never without the plugin", locked[true])
				}
			})
		}
	}
}

// file opens an SQLite database whose transactions begin as told.
func file(t *testing.T, begin string, captured bool) *gorm.DB {
	t.Helper()
	db, err := gorm.Open(sqlite.Open(fmt.Sprintf("file:%s?_pragma=busy_timeout(60000)&_pragma=journal_mode(WAL)&_txlock=%s",
		filepath.Join(t.TempDir(), "test.db"), begin)), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		t.Fatal(err)
	}
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close() })
	if err := db.AutoMigrate(&Part{}); err != nil {
		t.Fatal(err)
	}
	if captured {
		r := new(reliable.Registry)
		r.Handle(reliable.ContextModel, "audit", reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error { return nil }))
		if err := errors.Join(db.Use(reliable.New(reliable.Config{Registry: r, AllModels: true})), migrations.Up(t.Context(), db)); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Create(&[]Part{{Qty: 1}, {Qty: 2}, {Qty: 3}}).Error; err != nil {
		t.Fatal(err)
	}
	return db
}
