package chaos

import (
	"errors"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/failpoint"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// program is a kind of operation.
type program struct {
	name    string
	own     int  // writes of rows that it creates
	keeps   int  // how many of those are there at the end
	updates int  // how often it updates the rows of the target, which become its own
	deletes bool // it deletes the rows of the target
	undone  bool // it rolls back
	single  bool // it is one statement
	run     func(db *gorm.DB, op, target int64) error
}

var errUndo = errors.New("undo")

func programs() []program {
	return []program{
		{name: "create", own: 1, keeps: 1, single: true, run: func(db *gorm.DB, op, _ int64) error { return create(db, op, 1) }},
		{name: "batch", own: 5, keeps: 5, single: true, run: func(db *gorm.DB, op, _ int64) error { return create(db, op, 5) }},
		{name: "in-batches", own: 5, keeps: 5, run: func(db *gorm.DB, op, _ int64) error {
			return db.Transaction(func(tx *gorm.DB) error { return tx.CreateInBatches(sales(op, 5), 2).Error })
		}},
		{name: "update", updates: 1, single: true, run: update},
		{name: "delete", deletes: true, single: true, run: func(db *gorm.DB, _, target int64) error { return remove(db, target) }},
		{name: "begin", own: 2, keeps: 1, run: func(db *gorm.DB, op, _ int64) error {
			tx := db.Begin()
			if err := errors.Join(tx.Error, create(tx, op, 1), tx.Model(&Sale{}).Where("op = ?", op).Update("total", 77).Error); err != nil {
				return errors.Join(err, tx.Rollback().Error)
			}
			return commit(tx)
		}},
		{name: "transaction", own: 4, keeps: 4, updates: 1, run: func(db *gorm.DB, op, target int64) error {
			return db.Transaction(func(tx *gorm.DB) error {
				return errors.Join(create(tx, op, 3), update(tx, op, target), create(tx, op, 1))
			})
		}},
		{name: "replace", own: 1, keeps: 1, deletes: true, run: func(db *gorm.DB, op, target int64) error {
			return db.Transaction(func(tx *gorm.DB) error { return errors.Join(remove(tx, target), create(tx, op, 1)) })
		}},
		{name: "savepoints", own: 3, keeps: 3, run: func(db *gorm.DB, op, _ int64) error {
			return db.Transaction(func(tx *gorm.DB) error {
				undone := tx.Transaction(func(tx *gorm.DB) error { return errors.Join(create(tx, op, 2), errUndo) })
				if !only(undone, errUndo) {
					return undone
				}
				return errors.Join(create(tx, op, 1), tx.Transaction(func(tx *gorm.DB) error { return create(tx, op, 2) }))
			})
		}},
		{name: "buffered", own: 4, keeps: 4, updates: 1, run: func(db *gorm.DB, op, target int64) error {
			return reliable.Transaction(db, func(tx *gorm.DB) error {
				return errors.Join(create(tx, op, 3), update(tx, op, target), create(tx, op, 1))
			})
		}},
		{name: "buffered-savepoints", own: 4, keeps: 4, run: func(db *gorm.DB, op, _ int64) error {
			return reliable.Transaction(db, func(tx *gorm.DB) error {
				first := create(tx, op, 1)
				undone := tx.Transaction(func(tx *gorm.DB) error { return errors.Join(create(tx, op, 2), errUndo) })
				if !only(undone, errUndo) {
					return errors.Join(first, undone)
				}
				return errors.Join(first, create(tx, op, 1), tx.Transaction(func(tx *gorm.DB) error { return create(tx, op, 2) }))
			})
		}},
		{name: "buffered-rollback", updates: 1, undone: true, run: func(db *gorm.DB, op, target int64) error {
			err := reliable.Transaction(db, func(tx *gorm.DB) error { return errors.Join(create(tx, op, 2), update(tx, op, target), errUndo) })
			if only(err, errUndo) {
				return nil
			}
			return err
		}},
		{name: "rollback", updates: 1, undone: true, run: func(db *gorm.DB, op, target int64) error {
			err := db.Transaction(func(tx *gorm.DB) error { return errors.Join(create(tx, op, 2), update(tx, op, target), errUndo) })
			if only(err, errUndo) {
				return nil
			}
			return err
		}},
	}
}

// only reports whether an error joins nothing but want.
func only(err, want error) bool {
	return err != nil && errors.Is(err, want) && err.Error() == want.Error()
}

func create(db *gorm.DB, op int64, n int) error { return db.Create(sales(op, n)).Error }

func sales(op int64, n int) *[]Sale {
	rows := make([]Sale, n)
	for i := range rows {
		rows[i] = Sale{Op: op, Total: i, Card: Canary}
	}
	return &rows
}

func update(db *gorm.DB, op, target int64) error {
	return db.Model(&Sale{}).Where("op = ?", target).Updates(map[string]any{"op": op, "total": gorm.Expr("total + 1")}).Error
}

func remove(db *gorm.DB, target int64) error {
	return db.Where("op = ?", target).Delete(&Sale{}).Error
}

// commit ends a transaction by hand.
func commit(tx *gorm.DB) error {
	failpoint.Hit("producer.committing")
	err := tx.Commit().Error
	failpoint.Hit("producer.committed")
	return err
}
