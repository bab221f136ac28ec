package capture_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// scenario is a write and what the writer sees of it.
type scenario struct {
	name string
	run  func(db *gorm.DB) string
	only []testdb.Dialect // where GORM can do it
	why  string           // it can't be captured; empty = it is
}

// seen renders what a writer sees.
func seen(tx *gorm.DB, models ...any) string {
	list := []string{fmt.Sprintf("%d rows, error %v", tx.RowsAffected, tx.Error)}
	for _, m := range models {
		text, err := json.Marshal(m)
		list = append(list, fmt.Sprintf("%s %v", text, err))
	}
	return strings.Join(list, "\n")
}

func conflict(columns ...string) clause.OnConflict {
	var c clause.OnConflict
	for _, name := range columns {
		c.Columns = append(c.Columns, clause.Column{Name: name})
	}
	return c
}

func updating(c clause.OnConflict, columns ...string) clause.OnConflict {
	c.DoUpdates = clause.AssignmentColumns(columns)
	return c
}

// one makes a scenario of a write of a model.
func one[T any](name string, model *T, run func(db *gorm.DB, m *T) *gorm.DB) scenario {
	return scenario{name: name, run: func(db *gorm.DB) string {
		m := clone(reflect.ValueOf(model)).Interface().(*T)
		return seen(run(db, m), *m)
	}}
}

// clone copies a model and all that it points to: a write changes it.
func clone(v reflect.Value) reflect.Value {
	fresh := reflect.New(v.Type()).Elem()
	fresh.Set(v)
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			fresh.Set(reflect.New(v.Type().Elem()))
			fresh.Elem().Set(clone(v.Elem()))
		}
	case reflect.Slice:
		if !v.IsNil() {
			fresh.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
			for i := range v.Len() {
				fresh.Index(i).Set(clone(v.Index(i)))
			}
		}
	case reflect.Map:
		fresh.Set(reflect.MakeMap(v.Type()))
		for key, value := range v.Seq2() {
			fresh.SetMapIndex(key, value)
		}
	case reflect.Array:
		for i := range v.Len() {
			fresh.Index(i).Set(clone(v.Index(i)))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() && v.Type() != reflect.TypeFor[time.Time]() {
				fresh.Field(i).Set(clone(v.Field(i)))
			}
		}
	}
	return fresh
}

func bare(name string, run func(db *gorm.DB) *gorm.DB) scenario {
	return scenario{name: name, run: func(db *gorm.DB) string { return seen(run(db)) }}
}

func on(s scenario, dialects ...testdb.Dialect) scenario {
	s.only = dialects
	return s
}

var errNo = errors.New("no")

func creates() []scenario {
	nothing := clause.OnConflict{DoNothing: true}
	return []scenario{
		one("create", &User{Name: "a", Age: 1, Picture: []byte("p"), Score: 0.1}, func(db *gorm.DB, m *User) *gorm.DB { return db.Create(m) }),
		one("create with key", &User{ID: 50, Name: "a"}, func(db *gorm.DB, m *User) *gorm.DB { return db.Create(m) }),
		one("create batch", &[]User{{Name: "a"}, {ID: 70, Name: "b"}, {Name: "c"}}, func(db *gorm.DB, m *[]User) *gorm.DB { return db.Create(m) }),
		one("create pointers", &[]*User{{Name: "a"}, {Name: "b"}}, func(db *gorm.DB, m *[]*User) *gorm.DB { return db.Create(*m) }),
		one("create array", &[2]Part{{Qty: 1}, {Qty: 2}}, func(db *gorm.DB, m *[2]Part) *gorm.DB { return db.Create(m) }),
		one("create in batches", &[]User{{Name: "a"}, {Name: "b"}, {Name: "c"}}, func(db *gorm.DB, m *[]User) *gorm.DB { return db.CreateInBatches(m, 2) }),
		one("create map", &map[string]any{"name": "a", "age": 3}, func(db *gorm.DB, m *map[string]any) *gorm.DB { return db.Model(&User{}).Create(*m) }),
		one("create map pointer", &map[string]any{"Name": "a"}, func(db *gorm.DB, m *map[string]any) *gorm.DB { return db.Model(&User{}).Create(m) }),
		one("create maps", &[]map[string]any{{"name": "a"}, {"name": "b"}}, func(db *gorm.DB, m *[]map[string]any) *gorm.DB { return db.Model(&User{}).Create(m) }),
		one("create maps by value", &[]map[string]any{{"name": "a"}, {"name": "b"}}, func(db *gorm.DB, m *[]map[string]any) *gorm.DB { return db.Model(&User{}).Create(*m) }),
		one("create with expression", &map[string]any{"name": clause.Expr{SQL: "upper(?)", Vars: []any{"a"}}}, func(db *gorm.DB, m *map[string]any) *gorm.DB { return db.Model(&User{}).Create(*m) }),
		one("create empty", &[]User{}, func(db *gorm.DB, m *[]User) *gorm.DB { return db.Create(m) }),
		one("create selected", &User{Name: "a", Age: 3}, func(db *gorm.DB, m *User) *gorm.DB { return db.Select("name").Create(m) }),
		one("create omitted", &User{Name: "a", Age: 3}, func(db *gorm.DB, m *User) *gorm.DB { return db.Omit("Age").Create(m) }),
		one("create composite", &[]Seat{{Hall: "z", Place: 1}, {Hall: "z", Place: 2, Note: "n"}}, func(db *gorm.DB, m *[]Seat) *gorm.DB { return db.Create(m) }),
		one("create text key", &Language{"fr", "French"}, func(db *gorm.DB, m *Language) *gorm.DB { return db.Create(m) }),
		one("create duplicate", &User{Name: "a", Email: mail("ann@x")}, func(db *gorm.DB, m *User) *gorm.DB { return db.Create(m) }),
		one("create duplicate in batch", &[]User{{Name: "n"}, {Name: "a", Email: mail("ann@x")}}, func(db *gorm.DB, m *[]User) *gorm.DB { return db.Create(m) }),
		one("create duplicate key", &Language{"de", "x"}, func(db *gorm.DB, m *Language) *gorm.DB { return db.Create(m) }),
		one("create without columns", &Part{}, func(db *gorm.DB, m *Part) *gorm.DB { return db.Select("id").Create(m) }),
		one("create returning all", &Part{Qty: 4}, func(db *gorm.DB, m *Part) *gorm.DB { return db.Clauses(clause.Returning{}).Create(m) }),
		one("create returning some", &User{Name: "a"}, func(db *gorm.DB, m *User) *gorm.DB {
			return db.Clauses(clause.Returning{Columns: []clause.Column{{Name: "name"}, {Name: "id"}}}).Create(m)
		}),
		one("create returning batch", &[]User{{Name: "a"}, {Name: "b"}}, func(db *gorm.DB, m *[]User) *gorm.DB { return db.Clauses(clause.Returning{}).Create(m) }),
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
		one("update all", &[]User{{ID: 1, Name: "x", Age: 9}, {ID: 60, Name: "new"}}, func(db *gorm.DB, m *[]User) *gorm.DB {
			return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(m)
		}),
		one("update all new", &User{Name: "new"}, func(db *gorm.DB, m *User) *gorm.DB { return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(m) }),
		one("update all returning", &Part{ID: 1, Qty: 50}, func(db *gorm.DB, m *Part) *gorm.DB {
			return db.Clauses(clause.OnConflict{UpdateAll: true}, clause.Returning{}).Create(m)
		}),
		one("update all text key", &[]Language{{"de", "Deutsch"}, {"fr", "y"}}, func(db *gorm.DB, m *[]Language) *gorm.DB {
			return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(m)
		}),
		on(one("insert ignore", &[]Language{{"de", "x"}, {"fr", "y"}}, func(db *gorm.DB, m *[]Language) *gorm.DB {
			return db.Clauses(clause.Insert{Modifier: "IGNORE"}).Create(m)
		}), testdb.MySQL),
		on(one("insert or ignore", &[]Language{{"de", "x"}, {"fr", "y"}}, func(db *gorm.DB, m *[]Language) *gorm.DB {
			return db.Clauses(clause.Insert{Modifier: "OR IGNORE"}).Create(m)
		}), testdb.SQLite),
		one("first or create", &User{}, func(db *gorm.DB, m *User) *gorm.DB {
			return db.Where(User{Name: "zoe"}).Attrs(User{Age: 4}).FirstOrCreate(m)
		}),
		one("first or create found", &User{}, func(db *gorm.DB, m *User) *gorm.DB {
			return db.Where(User{Name: "ann"}).Assign(User{Age: 4}).FirstOrCreate(m)
		}),
		{name: "generics create", run: func(db *gorm.DB) string {
			p := Part{Qty: 8}
			err := gorm.G[Part](db).Create(context.Background(), &p)
			return fmt.Sprint(err, p)
		}},
		{name: "create with result", run: func(db *gorm.DB) string {
			result := gorm.WithResult()
			l := Language{"fr", "x"}
			err := gorm.G[Language](db, result).Create(context.Background(), &l)
			if err != nil || result.Result == nil {
				return fmt.Sprint(err, result.RowsAffected)
			}
			n, err := result.Result.RowsAffected()
			return fmt.Sprint(l, n, err, result.RowsAffected)
		}},
	}
}
