package reliable_test

import (
	"errors"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// A transaction that the database has ended takes nothing more: it would
// commit at once, and alone.
func TestEndedTransaction(t *testing.T) {
	transactions := map[string]func(*gorm.DB, func(tx *gorm.DB) error) error{
		"db.Transaction":       func(db *gorm.DB, fn func(tx *gorm.DB) error) error { return db.Transaction(fn) },
		"reliable.Transaction": func(db *gorm.DB, fn func(tx *gorm.DB) error) error { return reliable.Transaction(db, fn) },
	}
	ends := map[testdb.Dialect]func(t *testing.T, db, tx *gorm.DB) error{testdb.MySQL: deadlock, testdb.SQLite: conflict}
	for d, end := range ends {
		for name, transaction := range transactions {
			t.Run(d.String()+"/"+name, func(t *testing.T) {
				db := shop(t, d)
				if err := errors.Join(create(db, 1), create(db, 2)); err != nil {
					t.Fatal(err)
				}
				err := transaction(db, func(tx *gorm.DB) error {
					if err := end(t, db, tx); err == nil {
						t.Fatal("the transaction did not end")
					}
					if err := create(tx, 77); err == nil { // the application did not look at the error
						t.Error("a write after the end of its transaction: no error")
					}
					return nil
				})
				if err == nil {
					t.Error("the commit went through")
				}
				var n int64
				if err := db.Model(&Plain{}).Where("id = 77").Count(&n).Error; err != nil || n != 0 {
					t.Errorf("%d rows were committed (%v), want 0", n, err)
				}
			})
		}
	}
}

// deadlock lets tx meet another transaction so that MariaDB ends tx: the one
// that wrote less.
func deadlock(t *testing.T, db, tx *gorm.DB) error {
	t.Helper()
	lock := func(tx *gorm.DB, id uint) error {
		return tx.Clauses(clause.Locking{Strength: "UPDATE"}).First(&Plain{}, id).Error
	}
	other := db.Begin()
	defer other.Rollback()
	many := make([]Plain, 40)
	for i := range many {
		many[i].ID = uint(100 + i)
	}
	if err := errors.Join(other.Create(&many).Error, lock(other, 1), lock(tx, 2)); err != nil {
		t.Fatal(err)
	}
	waits := make(chan error, 1)
	go func() { waits <- lock(other, 2) }()
	err := lock(tx, 1)
	if other := <-waits; other != nil {
		t.Fatalf("the other transaction ended: %v", other)
	}
	return err
}

// conflict lets a statement of tx fail so that SQLite ends the transaction, as
// it also does after an interrupt or on a full disk.
func conflict(_ *testing.T, _, tx *gorm.DB) error {
	return reliable.Skip(tx).Exec("INSERT OR ROLLBACK INTO plains (id, qty) VALUES (1, 1)").Error
}
