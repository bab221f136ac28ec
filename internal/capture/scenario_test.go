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

func updates() []scenario {
	name := "new"
	type small struct {
		Name string
		Age  int
	}
	return []scenario{
		one("save existing", &User{ID: 1, Name: "ann2", Email: mail("ann@x"), Age: 11}, func(db *gorm.DB, m *User) *gorm.DB { return db.Save(m) }),
		one("save missing", &User{ID: 90, Name: "s"}, func(db *gorm.DB, m *User) *gorm.DB { return db.Save(m) }),
		one("save zero", &User{Name: "s"}, func(db *gorm.DB, m *User) *gorm.DB { return db.Save(m) }),
		one("save slice", &[]User{{ID: 2, Name: "bob2"}, {Name: "n"}}, func(db *gorm.DB, m *[]User) *gorm.DB { return db.Save(m) }),
		one("save composite", &Seat{Hall: "a", Place: 2, Taken: true, Note: "n"}, func(db *gorm.DB, m *Seat) *gorm.DB { return db.Save(m) }),
		one("updates struct", &User{ID: 1}, func(db *gorm.DB, m *User) *gorm.DB { return db.Model(m).Updates(User{Name: name, Age: 0}) }),
		one("updates other struct", &User{ID: 1}, func(db *gorm.DB, m *User) *gorm.DB { return db.Model(m).Updates(small{Name: name}) }),
		one("updates map", &User{ID: 1}, func(db *gorm.DB, m *User) *gorm.DB {
			return db.Model(m).Updates(map[string]any{"name": name, "Age": 0})
		}),
		one("updates by value", &User{ID: 1}, func(db *gorm.DB, m *User) *gorm.DB { return db.Model(*m).Updates(map[string]any{"name": name}) }),
		one("updates selected", &User{ID: 1}, func(db *gorm.DB, m *User) *gorm.DB {
			return db.Model(m).Select("name", "active").Updates(User{Name: name, Age: 99})
		}),
		one("updates omitted", &User{ID: 1}, func(db *gorm.DB, m *User) *gorm.DB {
			return db.Model(m).Omit("Name").Updates(User{Name: name, Age: 99})
		}),
		one("updates slice", &[]User{{ID: 1}, {ID: 2}}, func(db *gorm.DB, m *[]User) *gorm.DB { return db.Model(m).Updates(User{Name: name}) }),
		one("update column", &User{ID: 1}, func(db *gorm.DB, m *User) *gorm.DB { return db.Model(m).UpdateColumn("age", 5) }),
		one("update columns", &User{ID: 1}, func(db *gorm.DB, m *User) *gorm.DB { return db.Model(m).UpdateColumns(User{Age: 6, Name: name}) }),
		one("update bytes", &User{ID: 1}, func(db *gorm.DB, m *User) *gorm.DB { return db.Model(m).Update("picture", []byte{1, 200}) }),
		one("update to NULL", &User{ID: 1}, func(db *gorm.DB, m *User) *gorm.DB { return db.Model(m).Update("email", nil) }),
		one("update to the same", &Part{ID: 1}, func(db *gorm.DB, m *Part) *gorm.DB { return db.Model(m).Update("qty", 1) }),
		bare("update none", func(db *gorm.DB) *gorm.DB { return db.Model(&Part{}).Where("qty = 77").Update("qty", 1) }),
		bare("update where", func(db *gorm.DB) *gorm.DB { return db.Model(&User{}).Where("age >= ?", 20).Update("active", true) }),
		bare("update where or", func(db *gorm.DB) *gorm.DB {
			return db.Model(&User{}).Where("age = ?", 10).Or("age = ?", 30).Update("name", name)
		}),
		bare("update or first", func(db *gorm.DB) *gorm.DB {
			return db.Model(&Part{}).Or("qty = 1").Where("qty = 2 OR qty = 3").Update("parts", 9)
		}),
		bare("update its own condition", func(db *gorm.DB) *gorm.DB {
			return db.Model(&Part{}).Where("qty >= ? OR qty = ?", 2, 100).Update("qty", gorm.Expr("qty - ?", 5))
		}),
		bare("update by struct", func(db *gorm.DB) *gorm.DB { return db.Where(&User{Name: "bob"}).Updates(User{Age: 99}) }),
		bare("update by subquery", func(db *gorm.DB) *gorm.DB {
			return db.Model(&User{}).Where("id IN (?)", db.Model(&Pet{}).Select("user_id").Where("name = ?", "rex")).Update("age", 77)
		}),
		bare("update to subquery", func(db *gorm.DB) *gorm.DB {
			return db.Model(&User{}).Where("age > ?", 5).Update("name", db.Model(&Company{}).Select("max(name)").Where("id < ?", 100))
		}),
		bare("update by named", func(db *gorm.DB) *gorm.DB {
			return db.Model(&User{}).Where("age > @age AND age < @age + 15", map[string]any{"age": 9}).Update("name", name)
		}),
		bare("update all", func(db *gorm.DB) *gorm.DB {
			return db.Session(&gorm.Session{AllowGlobalUpdate: true}).Model(&Part{}).Update("qty", gorm.Expr("qty+1"))
		}),
		bare("update without where", func(db *gorm.DB) *gorm.DB { return db.Model(&Part{}).Update("qty", 1) }),
		bare("update scope", func(db *gorm.DB) *gorm.DB {
			return db.Scopes(func(db *gorm.DB) *gorm.DB { return db.Where("age > 15") }).Model(&User{}).Update("age", 1)
		}),
		bare("update alias", func(db *gorm.DB) *gorm.DB {
			return db.Table("users as u").Model(&User{}).Where("u.age > 15").Update("name", name)
		}),
		bare("update unknown column", func(db *gorm.DB) *gorm.DB { return db.Model(&Part{ID: 1}).Update("none", 1) }),
		bare("update duplicate", func(db *gorm.DB) *gorm.DB { return db.Model(&User{ID: 2}).Update("email", "ann@x") }),
		bare("update ordered and limited", func(db *gorm.DB) *gorm.DB {
			return db.Model(&Part{}).Where("qty > 0").Order("qty desc").Limit(2).Update("parts", 50)
		}),
		bare("update key", func(db *gorm.DB) *gorm.DB { return db.Model(&Part{ID: 2}).Update("id", 90) }),
		bare("update text key", func(db *gorm.DB) *gorm.DB {
			return db.Model(&Language{Code: "de"}).Updates(Language{Code: "xx", Name: "y"})
		}),
		bare("update half of key", func(db *gorm.DB) *gorm.DB { return db.Model(&Seat{}).Where("hall = 'a'").Update("hall", "q") }),
		bare("update keys by expression", func(db *gorm.DB) *gorm.DB {
			return db.Model(&Part{}).Where("id > 1").Updates(map[string]any{"id": gorm.Expr("id + 10")})
		}),
		bare("update keys shifted", func(db *gorm.DB) *gorm.DB {
			return db.Model(&Seat{}).Where("hall = 'a'").Update("place", gorm.Expr("place + 10"))
		}),
		bare("update composite", func(db *gorm.DB) *gorm.DB { return db.Model(&Seat{Hall: "a", Place: 1}).Update("taken", true) }),
		bare("update column like table", func(db *gorm.DB) *gorm.DB {
			return db.Model(&Part{}).Where("parts > 1").Update("parts", gorm.Expr("parts * 2"))
		}),
		on(bare("update from", func(db *gorm.DB) *gorm.DB {
			return db.Model(&Pet{}).Clauses(clause.From{Tables: []clause.Table{{Name: "users"}}}).Where("users.id = pets.user_id").
				Update("name", gorm.Expr("users.name"))
		}), testdb.Postgres, testdb.SQLite),
		on(bare("update from many", func(db *gorm.DB) *gorm.DB {
			return db.Model(&Part{}).Clauses(clause.From{Tables: []clause.Table{{Name: "users"}}}).Where("users.age > parts.qty").Update("qty", 70)
		}), testdb.Postgres, testdb.SQLite),
		on(one("update returning all", &User{ID: 1}, func(db *gorm.DB, m *User) *gorm.DB {
			return db.Model(m).Clauses(clause.Returning{}).Update("age", 12)
		}), testdb.Postgres, testdb.SQLite),
		one("update returning some", &User{ID: 1}, func(db *gorm.DB, m *User) *gorm.DB {
			return db.Model(m).Clauses(clause.Returning{Columns: []clause.Column{{Name: "age"}, {Name: "name"}}}).Update("age", gorm.Expr("age + 1"))
		}),
		one("update returning slice", &[]Part{}, func(db *gorm.DB, m *[]Part) *gorm.DB {
			return db.Model(m).Clauses(clause.Returning{}).Where("qty > 1").Update("qty", gorm.Expr("qty + 1"))
		}),
		one("update returning expression", &[]Part{}, func(db *gorm.DB, m *[]Part) *gorm.DB {
			return db.Model(m).Clauses(clause.Returning{Columns: []clause.Column{{Name: "id"}, {Name: "qty * 10", Raw: true, Alias: "parts"}}}).
				Where("qty > 1").Update("qty", gorm.Expr("qty + 1"))
		}),
		bare("restore", func(db *gorm.DB) *gorm.DB {
			db.Delete(&User{}, 1)
			return db.Unscoped().Model(&User{ID: 1}).Update("deleted_at", nil)
		}),
		{name: "generics update", run: func(db *gorm.DB) string {
			n, err := gorm.G[Part](db).Where("qty > ?", 1).Update(context.Background(), "qty", 9)
			return fmt.Sprint(n, err)
		}},
		{name: "find in batches and save", run: func(db *gorm.DB) string {
			var parts []Part
			return seen(db.Where("qty > 0").FindInBatches(&parts, 2, func(tx *gorm.DB, _ int) error {
				for i := range parts {
					parts[i].Qty *= 2
				}
				return tx.Save(&parts).Error
			}), parts)
		}},
		one("update with many parameters", &[]Part{}, func(db *gorm.DB, _ *[]Part) *gorm.DB {
			ids := make([]int, 40000)
			for i := range ids {
				ids[i] = i - 10
			}
			tx := db.Model(&Part{}).Where("id IN ?", ids).Update("qty", 3)
			if db.Name() == "sqlite" {
				tx.Error = nil // the text has the whole statement
			}
			return tx
		}),
	}
}

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
