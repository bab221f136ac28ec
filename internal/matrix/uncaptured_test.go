package matrix_test

import (
	"context"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// uncaptured are the writes that no GORM callback sees, or sees without a model.
func uncaptured() []scenario {
	const (
		raw     = "raw SQL has no model: use one, or `reliable.Record` and `reliable.Skip`"
		table   = "no model: add `Model`"
		cascade = "the database does it: the parent is captured, its children are not"
		trigger = "the database does it: the row is captured, what its trigger writes is not"
		struct2 = "another struct over the table of a registered model: use that model"
		keyless = "its rows have no name: give the model a primary key"
	)
	return append(settings(), []scenario{
		because(raw, bare("Exec, insert", func(db *gorm.DB) *gorm.DB { return db.Exec("INSERT INTO parts (id, parts, qty) VALUES (?, 7, 7)", 50) })),
		because(raw, bare("Exec, update", func(db *gorm.DB) *gorm.DB { return db.Exec("UPDATE parts SET qty = 9 WHERE id = 1") })),
		because(raw, bare("Exec, delete", func(db *gorm.DB) *gorm.DB {
			return db.Exec("DELETE FROM parts WHERE id = @id", map[string]any{"id": 1})
		})),
		because(raw, bare("Exec in a transaction", func(db *gorm.DB) *gorm.DB {
			tx := db.Begin()
			err := tx.Exec("UPDATE parts SET qty = 9").Error
			tx.Commit()
			_ = tx.AddError(err)
			return tx
		})),
		because(raw, bare("Exec with a model", func(db *gorm.DB) *gorm.DB { return db.Model(&Part{}).Exec("UPDATE parts SET qty = 9 WHERE id = 1") })),
		because(raw, on(bare("Raw and Scan", func(db *gorm.DB) *gorm.DB {
			var ids []uint
			return db.Raw("DELETE FROM parts WHERE qty > ? RETURNING id", 1).Scan(&ids)
		}))),
		because(raw, steps("Raw and Rows", func(db *gorm.DB) []error {
			rows, err := db.Raw("INSERT INTO parts (id, parts, qty) VALUES (50, 1, 1) RETURNING id").Rows()
			if err != nil {
				return []error{err}
			}
			defer func() { _ = rows.Close() }()
			for rows.Next() { // to the end: SQLite writes then
			}
			return []error{rows.Err()}
		})),
		because(raw, steps("generics Exec", func(db *gorm.DB) []error {
			return []error{gorm.G[Part](db).Exec(context.Background(), "UPDATE parts SET qty = 9 WHERE id = ?", 1)}
		})),
		because(raw, steps("generics Raw", func(db *gorm.DB) []error {
			_, err := gorm.G[Part](db).Raw("DELETE FROM parts WHERE qty > ? RETURNING *", 1).Find(context.Background())
			return []error{err}
		})),
		because("past GORM, nobody sees it", steps("ConnPool of the statement", func(db *gorm.DB) []error {
			_, err := db.Statement.ConnPool.ExecContext(context.Background(), "UPDATE parts SET qty = 9 WHERE id = 1")
			return []error{err}
		})),
		because(table, bare("create map in table", func(db *gorm.DB) *gorm.DB {
			return db.Table("parts").Create(map[string]any{"id": 50, "parts": 7, "qty": 7})
		})),
		because(table, bare("update table", func(db *gorm.DB) *gorm.DB { return db.Table("parts").Where("id = 1").Update("qty", 9) })),
		because(table, bare("update table with an alias", func(db *gorm.DB) *gorm.DB { return db.Table("parts AS p").Where("p.id = 1").Update("qty", 9) })),
		because(table, bare("updates map in table", func(db *gorm.DB) *gorm.DB {
			return db.Table("parts").Where("id > 1").Updates(map[string]any{"qty": 9})
		})),
		because(table, bare("delete from table", func(db *gorm.DB) *gorm.DB { return db.Table("parts").Where("id > 1").Delete(nil) })),
		because(struct2, bare("another struct, update", func(db *gorm.DB) *gorm.DB { return db.Model(&PartQty{ID: 1}).Update("qty", 9) })),
		because(struct2, bare("another struct, create", func(db *gorm.DB) *gorm.DB { return db.Create(&PartQty{ID: 50, Qty: 9}) })),
		because(struct2, bare("another struct, delete", func(db *gorm.DB) *gorm.DB { return db.Delete(&PartQty{}, 1) })),
		because("its rows are not the model's: register a model of that table", bare("model in another table", func(db *gorm.DB) *gorm.DB {
			return db.Table("archived_parts").Create(&Part{ID: 50, Qty: 1})
		})),
		because(keyless, bare("no primary key, create", func(db *gorm.DB) *gorm.DB { return db.Create(&Memo{"n", 2}) })),
		because(keyless, bare("no primary key, update", func(db *gorm.DB) *gorm.DB { return db.Model(&Memo{}).Where("rank = 1").Update("text", "x") })),
		because(keyless, bare("no primary key, delete", func(db *gorm.DB) *gorm.DB { return db.Where("rank = 1").Delete(&Memo{}) })),
		blind(because(cascade, bare("foreign key cascades a delete", func(db *gorm.DB) *gorm.DB { return db.Delete(&Parent{}, 1) }))),
		blind(because(cascade, bare("foreign key cascades an update", func(db *gorm.DB) *gorm.DB { return db.Model(&Parent{ID: 1}).Update("id", 7) }))),
		because("the database deletes what is in the way, unseen: use clause.OnConflict", refusedAlways(on(bare("insert or replace", func(db *gorm.DB) *gorm.DB {
			return db.Clauses(clause.Insert{Modifier: "OR REPLACE"}).Create(&Language{"en", "x"})
		}), testdb.SQLite))),
		because("MariaDB does not tell the key that a row gets: set a plain value", refusedAlways(on(bare("key set to an expression, after another column", func(db *gorm.DB) *gorm.DB {
			return db.Model(&Part{}).Where("id = 1").Updates(map[string]any{"aparts": 1, "id": gorm.Expr("id + 60")})
		}), testdb.MySQL))),
		because(trigger, bare("trigger that writes", func(db *gorm.DB) *gorm.DB { return db.Create(&Source{ID: 5, Qty: 5}) })),
	}...)
}

// settings are refusals of the plugin's limits and settings, also with
// AllowUncaptured; and opt-outs.
func settings() []scenario {
	const byChoice = "that is what it is for"
	limited := func(write func(db *gorm.DB) error) func(*testing.T, testdb.Dialect) outcome {
		return with(reliable.Config{MaxRows: 2, AllowUncaptured: true}, write)
	}
	return []scenario{
		{name: "more rows than MaxRows, create", why: "split the statement, or raise the limit", stage: limited(func(db *gorm.DB) error {
			return db.Create(&[]Part{{Qty: 1}, {Qty: 2}, {Qty: 3}}).Error
		})},
		{name: "more rows than MaxRows, update", why: "split the statement, or raise the limit", stage: with(reliable.Config{MaxRows: 2}, func(db *gorm.DB) error {
			for i := range 3 {
				if err := db.Create(&Part{Qty: i}).Error; err != nil {
					return err
				}
			}
			return db.Model(&Part{}).Where("qty >= 0").Update("parts", 5).Error
		})},
		{name: "an entry of more than MaxEntryBytes", why: "leave large fields out, or raise the limit", stage: with(reliable.Config{MaxEntryBytes: 20}, func(db *gorm.DB) error {
			return db.Create(&Company{Name: "a long name"}).Error
		})},
		{name: "RequireTransaction, outside of one", why: "wrap it in db.Transaction", stage: with(reliable.Config{RequireTransaction: true}, func(db *gorm.DB) error {
			return db.Session(&gorm.Session{SkipDefaultTransaction: true}).Create(&Part{Qty: 1}).Error
		})},
		because(byChoice, bare("reliable.Skip", func(db *gorm.DB) *gorm.DB { return reliable.Skip(db).Create(&Part{ID: 50, Qty: 1}) })),
		because(byChoice, bare("reliable.SkipContext", func(db *gorm.DB) *gorm.DB {
			return db.WithContext(reliable.SkipContext(context.Background())).Model(&Part{ID: 1}).Update("qty", 9)
		})),
	}
}

// blind says that MariaDB's triggers don't see what a foreign key does.
func blind(s scenario) scenario {
	s.blind = []testdb.Dialect{testdb.MySQL}
	return s
}
