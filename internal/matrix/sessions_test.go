package matrix_test

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"
)

// sessions are writes in sessions, connections and contexts of every kind.
func sessions() []scenario {
	return []scenario{
		bare("context cancelled before", func(db *gorm.DB) *gorm.DB {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			return db.WithContext(ctx).Create(&Part{Qty: 1})
		}),
		{name: "dry run", run: func(db *gorm.DB) string {
			tx := db.Session(&gorm.Session{DryRun: true}).Create(&Part{Qty: 1})
			return seen(tx) + tx.Statement.SQL.String()
		}},
		{name: "ToSQL", run: func(db *gorm.DB) string {
			return db.ToSQL(func(tx *gorm.DB) *gorm.DB { return tx.Model(&Part{ID: 1}).Update("qty", 3) }) +
				db.ToSQL(func(tx *gorm.DB) *gorm.DB { return tx.Delete(&Part{ID: 1}) })
		}},
		steps("connection", func(db *gorm.DB) []error {
			return []error{db.Connection(func(tx *gorm.DB) error {
				return tx.Session(&gorm.Session{NewDB: true}).Create(&Part{Qty: 4}).Error
			})}
		}),
		bare("default transaction's timeout", func(db *gorm.DB) *gorm.DB {
			tx := db.Session(&gorm.Session{})
			tx.DefaultTransactionTimeout = time.Hour
			return tx.Create(&Part{Qty: 4})
		}),
		bare("session with prepared statements", func(db *gorm.DB) *gorm.DB {
			tx := db.Session(&gorm.Session{PrepareStmt: true})
			for range 3 {
				tx.Create(&Part{Qty: 4})
			}
			return tx.Model(&Part{}).Where("qty = ?", 4).Update("qty", 5)
		}),
		bare("session that queries fields", func(db *gorm.DB) *gorm.DB {
			return db.Session(&gorm.Session{QueryFields: true}).Model(&Part{ID: 1}).Update("qty", 5)
		}),
		bare("session without default transaction", func(db *gorm.DB) *gorm.DB {
			return db.Session(&gorm.Session{SkipDefaultTransaction: true}).Create(family())
		}),
		bare("debug session", func(db *gorm.DB) *gorm.DB { return db.Session(&gorm.Session{Initialized: true}).Create(&Part{Qty: 4}) }),
		{name: "one statement used twice", run: func(db *gorm.DB) string {
			tx := db.Model(&Part{}).Where("qty > 1").Session(&gorm.Session{})
			return seen(tx.Update("qty", 10)) + seen(tx.Update("parts", 11))
		}},
		{name: "create with result", run: createWithResult},
		{name: "transaction from the statement", run: func(db *gorm.DB) string {
			return fmt.Sprint(db.Transaction(func(tx *gorm.DB) error {
				_, ok := tx.Statement.ConnPool.(gorm.TxCommitter)
				if err := tx.Create(&Part{Qty: 4}).Error; err != nil || !ok {
					return errNo
				}
				return nil
			}))
		}},
		{name: "two sources", stage: twoSources},
	}
}

func createWithResult(db *gorm.DB) string {
	result := gorm.WithResult()
	l := Language{"fr", "x"}
	err := gorm.G[Language](db, result).Create(context.Background(), &l)
	if err != nil || result.Result == nil {
		return fmt.Sprint(err, result.RowsAffected)
	}
	n, err := result.Result.RowsAffected()
	return fmt.Sprint(l, n, err, result.RowsAffected)
}
