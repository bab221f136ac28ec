package capture_test

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

func deletes() []scenario {
	return []scenario{
		one("soft delete", &User{ID: 1}, func(db *gorm.DB, m *User) *gorm.DB { return db.Delete(m) }),
		bare("soft delete by key", func(db *gorm.DB) *gorm.DB { return db.Delete(&User{}, []int{1, 2}) }),
		bare("soft delete where", func(db *gorm.DB) *gorm.DB { return db.Where("age > ?", 15).Delete(&User{}) }),
		bare("soft delete twice", func(db *gorm.DB) *gorm.DB { db.Delete(&User{}, 1); return db.Delete(&User{}, 1) }),
		bare("soft delete none", func(db *gorm.DB) *gorm.DB { return db.Where("age > ?", 150).Delete(&User{}) }),
		on(one("soft delete returning", &[]User{}, func(db *gorm.DB, m *[]User) *gorm.DB {
			return db.Clauses(clause.Returning{}).Where("age > ?", 15).Delete(m)
		}), testdb.Postgres, testdb.SQLite),
		bare("unscoped delete", func(db *gorm.DB) *gorm.DB { return db.Unscoped().Delete(&User{}, 3) }),
		{name: "soft then hard on one statement", run: func(db *gorm.DB) string {
			tx := db.Where("age = ?", 30)
			tx.Delete(&User{})
			return seen(tx.Unscoped().Delete(&User{}))
		}},
		one("delete", &Part{ID: 2}, func(db *gorm.DB, m *Part) *gorm.DB { return db.Delete(m) }),
		one("delete slice", &[]Part{{ID: 2}, {ID: 3}}, func(db *gorm.DB, m *[]Part) *gorm.DB { return db.Delete(m) }),
		bare("delete by key", func(db *gorm.DB) *gorm.DB { return db.Delete(&Part{}, 1) }),
		bare("delete where", func(db *gorm.DB) *gorm.DB { return db.Delete(&Part{}, "qty > ?", 1) }),
		bare("delete impossible", func(db *gorm.DB) *gorm.DB { return db.Delete(&Part{}, "1 = 0") }),
		bare("delete none", func(db *gorm.DB) *gorm.DB { return db.Delete(&Part{}, "qty > ?", 100) }),
		bare("delete without where", func(db *gorm.DB) *gorm.DB { return db.Delete(&Part{}) }),
		bare("delete referenced", func(db *gorm.DB) *gorm.DB { return db.Unscoped().Delete(&User{}, 2) }),
		one("delete composite", &Seat{Hall: "a", Place: 1}, func(db *gorm.DB, m *Seat) *gorm.DB { return db.Delete(m) }),
		one("delete returning all", &[]Part{}, func(db *gorm.DB, m *[]Part) *gorm.DB {
			return db.Clauses(clause.Returning{}).Where("qty > ?", 1).Delete(m)
		}),
		one("delete returning some", &[]Part{}, func(db *gorm.DB, m *[]Part) *gorm.DB {
			return db.Clauses(clause.Returning{Columns: []clause.Column{{Name: "qty"}}}).Where("qty > ?", 1).Delete(m)
		}),
		on(bare("delete ordered and limited", func(db *gorm.DB) *gorm.DB { return db.Where("qty > 0").Order("qty desc").Limit(1).Delete(&Part{}) })),
		bare("delete with associations", func(db *gorm.DB) *gorm.DB {
			return db.Unscoped().Select("Pets", "Languages").Delete(&User{ID: 2})
		}),
	}
}

func together() []scenario {
	company := Company{Name: "corp"}
	family := func() *User {
		return &User{Name: "fam", Company: &Company{Name: "corp"}, Pets: []Pet{{Name: "p1"}, {Name: "p2"}}, Languages: []Language{{"de", "German"}, {"xx", "New"}}}
	}
	return []scenario{
		one("autosave", family(), func(db *gorm.DB, m *User) *gorm.DB {
			m.Company = &company
			c := company
			m.Company = &c
			return db.Create(m)
		}),
		one("autosave batch", &[]User{}, func(db *gorm.DB, m *[]User) *gorm.DB {
			*m = []User{*family(), {Name: "other", Pets: []Pet{{Name: "q"}}}}
			return db.Create(m)
		}),
		one("full save", &User{ID: 2, Name: "bob", Email: mail("bob@x"), Pets: []Pet{{ID: 1, Name: "max"}, {Name: "new"}}}, func(db *gorm.DB, m *User) *gorm.DB {
			return db.Session(&gorm.Session{FullSaveAssociations: true}).Save(m)
		}),
		one("save existing pet", &User{ID: 2, Name: "bob", Pets: []Pet{{ID: 1, Name: "ignored"}}}, func(db *gorm.DB, m *User) *gorm.DB { return db.Save(m) }),
		{name: "association append", run: func(db *gorm.DB) string {
			u := User{ID: 1}
			err := db.Model(&u).Association("Pets").Append(&Pet{Name: "a"}, &Pet{ID: 1})
			return fmt.Sprint(err)
		}},
		{name: "association replace", run: func(db *gorm.DB) string {
			u := User{ID: 2}
			err := db.Model(&u).Association("Pets").Replace(&Pet{Name: "a"})
			err2 := db.Model(&u).Association("Languages").Replace(&Language{"en", "English"}, &Language{"yy", "y"})
			err3 := db.Model(&u).Association("Languages").Delete(&Language{Code: "en"})
			err4 := db.Model(&u).Association("Languages").Clear()
			return fmt.Sprint(err, err2, err3, err4)
		}},
		{name: "transaction", run: func(db *gorm.DB) string {
			return fmt.Sprint(db.Transaction(func(tx *gorm.DB) error {
				return errors.Join(tx.Create(&Part{Qty: 7}).Error, tx.Model(&Part{ID: 1}).Update("qty", 8).Error, tx.Delete(&Part{ID: 2}).Error)
			}))
		}},
		{name: "transaction rolled back", run: func(db *gorm.DB) string {
			return fmt.Sprint(db.Transaction(func(tx *gorm.DB) error { return errors.Join(tx.Create(&Part{Qty: 7}).Error, errNo) }))
		}},
		{name: "savepoint rolled back", run: func(db *gorm.DB) string {
			return fmt.Sprint(db.Transaction(func(tx *gorm.DB) error {
				_ = tx.Transaction(func(tx *gorm.DB) error { return errors.Join(tx.Create(&Part{Qty: 7}).Error, errNo) })
				return tx.Create(&Part{Qty: 8}).Error
			}))
		}},
		{name: "error in savepoint survived", run: func(db *gorm.DB) string {
			return fmt.Sprint(db.Transaction(func(tx *gorm.DB) error {
				err := tx.Transaction(func(tx *gorm.DB) error {
					return tx.Create(&[]User{{Name: "n"}, {Name: "a", Email: mail("ann@x")}}).Error
				})
				if err == nil {
					return errNo
				}
				return tx.Create(&Part{Qty: 8}).Error
			}))
		}},
		{name: "rollback to", run: func(db *gorm.DB) string {
			tx := db.Begin()
			tx.Create(&Part{Qty: 7})
			tx.SavePoint("s")
			tx.Create(&Part{Qty: 8})
			tx.RollbackTo("s")
			tx.Model(&Part{ID: 1}).Update("qty", 9)
			return fmt.Sprint(tx.Commit().Error)
		}},
		{name: "hook fails", run: func(db *gorm.DB) string { return seen(db.Create(&User{Name: "x", fail: errNo})) }},
		{name: "hook fails and is ignored", run: func(db *gorm.DB) string {
			return fmt.Sprint(db.Transaction(func(tx *gorm.DB) error { tx.Create(&User{Name: "x", fail: errNo}); return nil }))
		}},
		{name: "cancelled", run: func(db *gorm.DB) string {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			return seen(db.WithContext(ctx).Create(&Part{Qty: 1}))
		}},
		{name: "dry run", run: func(db *gorm.DB) string {
			tx := db.Session(&gorm.Session{DryRun: true}).Create(&Part{Qty: 1})
			return seen(tx) + tx.Statement.SQL.String() + db.ToSQL(func(tx *gorm.DB) *gorm.DB { return tx.Model(&Part{ID: 1}).Update("qty", 3) })
		}},
		{name: "connection", run: func(db *gorm.DB) string {
			return fmt.Sprint(db.Connection(func(tx *gorm.DB) error { return tx.Session(&gorm.Session{NewDB: true}).Create(&Part{Qty: 4}).Error }))
		}},
		{name: "skip hooks", run: func(db *gorm.DB) string {
			return seen(db.Session(&gorm.Session{SkipHooks: true}).Create(&User{Name: "x", fail: errNo}))
		}},
	}
}
