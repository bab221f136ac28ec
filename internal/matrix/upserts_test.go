package matrix_test

import (
	"context"
	"fmt"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

func upserts() []scenario {
	nothing := clause.OnConflict{DoNothing: true}
	return []scenario{
		one("do nothing", &[]User{{ID: 1, Name: "dup"}, {ID: 50, Name: "new"}}, func(db *gorm.DB, m *[]User) *gorm.DB { return db.Clauses(nothing).Create(m) }),
		one("do nothing on email", &[]User{{Name: "dup", Email: mail("ann@x")}, {Name: "new", Email: mail("new@x")}}, func(db *gorm.DB, m *[]User) *gorm.DB { return db.Clauses(nothing).Create(m) }),
		one("do nothing at all", &User{ID: 1, Name: "dup"}, func(db *gorm.DB, m *User) *gorm.DB { return db.Clauses(nothing).Create(m) }),
		one("do nothing text key", &[]Language{{"de", "x"}, {"fr", "y"}}, func(db *gorm.DB, m *[]Language) *gorm.DB { return db.Clauses(nothing).Create(m) }),
		one("do updates", &[]User{{ID: 1, Name: "x", Age: 9}, {ID: 60, Name: "new", Age: 8}}, func(db *gorm.DB, m *[]User) *gorm.DB {
			return db.Clauses(updating(conflict("id"), "age")).Create(m)
		}),
		one("do updates on email", &[]User{{Name: "x", Email: mail("bob@x"), Age: 9}, {Name: "new", Email: mail("n@x")}}, func(db *gorm.DB, m *[]User) *gorm.DB {
			return db.Clauses(updating(conflict("email"), "name", "age")).Create(m)
		}),
		one("do updates expression", &[]Part{{ID: 1, Qty: 5}, {ID: 9, Qty: 5}}, func(db *gorm.DB, m *[]Part) *gorm.DB {
			c := conflict("id")
			c.DoUpdates = clause.Assignments(map[string]any{"qty": gorm.Expr("parts.qty + ?", 100)})
			return db.Clauses(c).Create(m)
		}),
		one("do updates unchanged", &Part{ID: 2, Parts: 2, Qty: 2}, func(db *gorm.DB, m *Part) *gorm.DB { return db.Clauses(updating(conflict("id"), "qty")).Create(m) }),
		one("do updates composite", &[]Seat{{Hall: "a", Place: 1, Taken: true}, {Hall: "c", Place: 1}}, func(db *gorm.DB, m *[]Seat) *gorm.DB {
			return db.Clauses(updating(conflict("hall", "place"), "taken")).Create(m)
		}),
		one("do updates on name", &Hooked{ID: 1, Name: "x"}, func(db *gorm.DB, m *Hooked) *gorm.DB {
			return db.Clauses(updating(conflict("id"), "name")).Create(m)
		}),
		one("do updates excluded and old", &[]Seat{{Hall: "a", Place: 1, Note: "n"}, {Hall: "a", Place: 2}}, func(db *gorm.DB, m *[]Seat) *gorm.DB {
			c := conflict("hall", "place")
			c.DoUpdates = clause.Assignments(map[string]any{"note": gorm.Expr("?", "set"), "taken": true})
			return db.Clauses(c).Create(m)
		}),
		one("upsert composite, all columns", &[]Order{{Shop: "north", No: 1, State: "shut"}, {Shop: "x", No: 2}}, func(db *gorm.DB, m *[]Order) *gorm.DB {
			return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(m)
		}),
		one("upsert maps", &[]map[string]any{{"code": "de", "name": "x"}, {"code": "fr", "name": "y"}}, func(db *gorm.DB, m *[]map[string]any) *gorm.DB {
			return db.Model(&Language{}).Clauses(updating(conflict("code"), "name")).Create(m)
		}),
		one("upsert in batches", &[]Part{{ID: 1, Qty: 5}, {ID: 8, Qty: 5}, {ID: 2, Qty: 2}}, func(db *gorm.DB, m *[]Part) *gorm.DB {
			return db.Clauses(updating(conflict("id"), "qty")).CreateInBatches(m, 2)
		}),
		one("do nothing, generated and given keys", &[]User{{ID: 1, Name: "dup"}, {ID: 50, Name: "given"}, {Name: "generated"}}, func(db *gorm.DB, m *[]User) *gorm.DB {
			return db.Clauses(nothing).Create(m)
		}),
		one("do nothing returning", &[]User{{ID: 1, Name: "dup"}, {ID: 50, Name: "given"}}, func(db *gorm.DB, m *[]User) *gorm.DB {
			return db.Clauses(nothing, clause.Returning{}).Create(m)
		}),
		one("upsert of a soft-deleted row", &User{ID: 1, Name: "back"}, func(db *gorm.DB, m *User) *gorm.DB {
			db.Delete(&User{}, 1)
			return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(m)
		}),
		{name: "generics upsert", run: func(db *gorm.DB) string {
			list := []Part{{ID: 1, Qty: 8}, {ID: 9, Qty: 9}}
			err := gorm.G[Part](db, updating(conflict("id"), "qty")).CreateInBatches(context.Background(), &list, 5)
			return fmt.Sprint(err, list)
		}},
		{name: "upsert race", stage: upsertRace},
		on(one("do updates key", &User{ID: 77, Name: "x", Email: mail("ann@x")}, func(db *gorm.DB, m *User) *gorm.DB {
			return db.Clauses(updating(conflict("email"), "id", "name")).Create(m)
		})),
		on(one("do updates where false", &Part{ID: 1, Qty: 5}, func(db *gorm.DB, m *Part) *gorm.DB {
			c := updating(conflict("id"), "qty")
			c.Where = clause.Where{Exprs: []clause.Expression{gorm.Expr("parts.qty > 100")}}
			return db.Clauses(c).Create(m)
		}), testdb.Postgres, testdb.SQLite),
		on(one("do updates on constraint", &Part{ID: 1, Qty: 5}, func(db *gorm.DB, m *Part) *gorm.DB {
			c := updating(clause.OnConflict{OnConstraint: "parts_pkey"}, "qty")
			return db.Clauses(c).Create(m)
		}), testdb.Postgres),
		on(one("upsert one row twice", &[]Part{{ID: 1, Qty: 5}, {ID: 1, Qty: 6}, {ID: 9, Qty: 1}, {ID: 9, Qty: 2}}, func(db *gorm.DB, m *[]Part) *gorm.DB {
			return db.Clauses(updating(conflict("id"), "qty")).Create(m)
		}), testdb.MySQL, testdb.SQLite),
		one("upsert all columns", &[]User{{ID: 1, Name: "x", Age: 9}, {ID: 60, Name: "new"}}, func(db *gorm.DB, m *[]User) *gorm.DB {
			return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(m)
		}),
		one("upsert all columns, new", &User{Name: "new"}, func(db *gorm.DB, m *User) *gorm.DB { return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(m) }),
		one("upsert all columns returning", &Part{ID: 1, Qty: 50}, func(db *gorm.DB, m *Part) *gorm.DB {
			return db.Clauses(clause.OnConflict{UpdateAll: true}, clause.Returning{}).Create(m)
		}),
		one("upsert all columns, text key", &[]Language{{"de", "Deutsch"}, {"fr", "y"}}, func(db *gorm.DB, m *[]Language) *gorm.DB {
			return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(m)
		}),
		on(one("insert ignore", &[]Language{{"de", "x"}, {"fr", "y"}}, func(db *gorm.DB, m *[]Language) *gorm.DB {
			return db.Clauses(clause.Insert{Modifier: "IGNORE"}).Create(m)
		}), testdb.MySQL),
		on(one("insert or ignore", &[]Language{{"de", "x"}, {"fr", "y"}}, func(db *gorm.DB, m *[]Language) *gorm.DB {
			return db.Clauses(clause.Insert{Modifier: "OR IGNORE"}).Create(m)
		}), testdb.SQLite),
	}
}
