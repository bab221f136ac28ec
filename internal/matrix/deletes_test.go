package matrix_test

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

func deletes() []scenario {
	return []scenario{
		one("delete", &Part{ID: 2}, func(db *gorm.DB, m *Part) *gorm.DB { return db.Delete(m) }),
		one("delete slice", &[]Part{{ID: 2}, {ID: 3}}, func(db *gorm.DB, m *[]Part) *gorm.DB { return db.Delete(m) }),
		bare("delete by key", func(db *gorm.DB) *gorm.DB { return db.Delete(&Part{}, 1) }),
		bare("delete where", func(db *gorm.DB) *gorm.DB { return db.Delete(&Part{}, "qty > ?", 1) }),
		bare("delete impossible", func(db *gorm.DB) *gorm.DB { return db.Delete(&Part{}, "1 = 0") }),
		bare("delete none", func(db *gorm.DB) *gorm.DB { return db.Delete(&Part{}, "qty > ?", 100) }),
		bare("delete without where", func(db *gorm.DB) *gorm.DB { return db.Delete(&Part{}) }),
		bare("delete referenced", func(db *gorm.DB) *gorm.DB { return db.Unscoped().Delete(&User{}, 2) }),
		one("delete composite", &Seat{Hall: "a", Place: 1}, func(db *gorm.DB, m *Seat) *gorm.DB { return db.Delete(m) }),
		several("delete returning all", func(db *gorm.DB, m *[]Part) *gorm.DB {
			return db.Clauses(clause.Returning{}).Where("qty > ?", 1).Delete(m)
		}),
		several("delete returning some", func(db *gorm.DB, m *[]Part) *gorm.DB {
			return db.Clauses(clause.Returning{Columns: []clause.Column{{Name: "qty"}}}).Where("qty > ?", 1).Delete(m)
		}),
		bare("delete with where by slice", func(db *gorm.DB) *gorm.DB { return db.Delete(&Part{}, []int{1, 2}) }),
		bare("delete by struct", func(db *gorm.DB) *gorm.DB { return db.Where(&Part{Qty: 3}).Delete(&Part{}) }),
		bare("delete by subquery", func(db *gorm.DB) *gorm.DB {
			return db.Where("id IN (?)", db.Model(&Part{}).Select("parts").Where("qty < 3")).Delete(&Pet{})
		}),
		one("delete by model's key and where", &Part{ID: 2}, func(db *gorm.DB, m *Part) *gorm.DB { return db.Where("qty = 1").Delete(m) }),
		bare("delete all rows", func(db *gorm.DB) *gorm.DB { return db.Session(&gorm.Session{AllowGlobalUpdate: true}).Delete(&Part{}) }),
		bare("delete again after a create", func(db *gorm.DB) *gorm.DB {
			db.Delete(&Part{}, 1)
			db.Create(&Part{ID: 1, Qty: 8})
			return db.Delete(&Part{}, 1)
		}),
		{name: "generics delete", run: func(db *gorm.DB) string {
			n, err := gorm.G[Part](db).Where("qty > ?", 1).Delete(context.Background())
			return fmt.Sprint(n, err)
		}},
		on(bare("delete ordered and limited", func(db *gorm.DB) *gorm.DB { return db.Where("qty > 0").Order("qty desc").Limit(1).Delete(&Part{}) })),
	}
}

func softDeletes() []scenario {
	return []scenario{
		one("soft delete", &User{ID: 1}, func(db *gorm.DB, m *User) *gorm.DB { return db.Delete(m) }),
		bare("soft delete by key", func(db *gorm.DB) *gorm.DB { return db.Delete(&User{}, []int{1, 2}) }),
		bare("soft delete where", func(db *gorm.DB) *gorm.DB { return db.Where("age > ?", 15).Delete(&User{}) }),
		bare("soft delete twice", func(db *gorm.DB) *gorm.DB { db.Delete(&User{}, 1); return db.Delete(&User{}, 1) }),
		bare("soft delete none", func(db *gorm.DB) *gorm.DB { return db.Where("age > ?", 150).Delete(&User{}) }),
		on(several("soft delete returning", func(db *gorm.DB, m *[]User) *gorm.DB {
			return db.Clauses(clause.Returning{}).Where("age > ?", 15).Delete(m)
		}), testdb.Postgres, testdb.SQLite),
		bare("unscoped delete", func(db *gorm.DB) *gorm.DB { return db.Unscoped().Delete(&User{}, 3) }),
		bare("unscoped delete of a soft-deleted row", func(db *gorm.DB) *gorm.DB {
			db.Delete(&User{}, 1)
			return db.Unscoped().Delete(&User{}, 1)
		}),
		bare("restore", func(db *gorm.DB) *gorm.DB {
			db.Delete(&User{}, 1)
			return db.Unscoped().Model(&User{ID: 1}).Update("deleted_at", nil)
		}),
		bare("restore and change", func(db *gorm.DB) *gorm.DB {
			db.Delete(&User{}, []int{1, 3})
			return db.Unscoped().Model(&User{}).Where("deleted_at IS NOT NULL").Updates(map[string]any{"deleted_at": nil, "age": 5})
		}),
		bare("soft delete by hand", func(db *gorm.DB) *gorm.DB { return db.Model(&User{ID: 1}).Update("deleted_at", noon()) }),
		bare("soft delete by unix time", func(db *gorm.DB) *gorm.DB { return db.Delete(&UnixRow{}, 1) }),
		bare("restore by unix time", func(db *gorm.DB) *gorm.DB { return db.Unscoped().Model(&UnixRow{ID: 2}).Update("deleted_at", 0) }),
		bare("soft delete by milliseconds", func(db *gorm.DB) *gorm.DB { return db.Delete(&MilliRow{ID: 1}) }),
		bare("restore by milliseconds", func(db *gorm.DB) *gorm.DB { return db.Unscoped().Model(&MilliRow{ID: 2}).Update("deleted_at", 0) }),
		bare("soft delete by nanoseconds", func(db *gorm.DB) *gorm.DB { return db.Delete(&NanoRow{}, "name = ?", "a") }),
		bare("restore by nanoseconds", func(db *gorm.DB) *gorm.DB { return db.Unscoped().Model(&NanoRow{ID: 2}).Update("deleted_at", 0) }),
		bare("soft delete by flag", func(db *gorm.DB) *gorm.DB { return db.Delete(&FlagRow{}, []int{1, 2}) }),
		bare("restore by flag", func(db *gorm.DB) *gorm.DB {
			return db.Unscoped().Model(&FlagRow{}).Where("deleted = 1").Update("deleted", 0)
		}),
		bare("soft delete by flag and time", func(db *gorm.DB) *gorm.DB { return db.Delete(&MixedRow{}, 1) }),
		bare("restore by flag and time", func(db *gorm.DB) *gorm.DB {
			return db.Unscoped().Model(&MixedRow{ID: 2}).Updates(map[string]any{"deleted": 0, "deleted_at": nil})
		}),
		bare("soft delete with a zero value", func(db *gorm.DB) *gorm.DB { return db.Delete(&ZeroRow{}, []int{1, 2}) }),
		bare("restore with a zero value", func(db *gorm.DB) *gorm.DB {
			return db.Unscoped().Model(&ZeroRow{ID: 2}).Update("deleted_at", time.Unix(1, 0).UTC())
		}),
		bare("unscoped delete by flag", func(db *gorm.DB) *gorm.DB { return db.Unscoped().Delete(&FlagRow{}, 1) }),
		{name: "soft then hard on one statement", run: func(db *gorm.DB) string {
			tx := db.Where("age = ?", 30)
			tx.Delete(&User{})
			return seen(tx.Unscoped().Delete(&User{}))
		}},
	}
}
