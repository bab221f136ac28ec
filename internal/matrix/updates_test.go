package matrix_test

import (
	"context"
	"fmt"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

func updates() []scenario {
	name := "new"
	type small struct {
		Name string
		Age  int
	}
	return []scenario{
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
		bare("update all rows", func(db *gorm.DB) *gorm.DB {
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
		bare("update to expression", func(db *gorm.DB) *gorm.DB { return db.Model(&User{ID: 1}).Update("age", gorm.Expr("age * ? + 1", 2)) }),
		one("update struct of expressions", &User{ID: 1}, func(db *gorm.DB, m *User) *gorm.DB {
			return db.Model(m).Updates(map[string]any{"age": gorm.Expr("age + 1"), "name": clause.Expr{SQL: "upper(name)"}})
		}),
		bare("update where in slice", func(db *gorm.DB) *gorm.DB { return db.Model(&Part{}).Where([]int{1, 3}).Update("qty", 40) }),
		bare("update not", func(db *gorm.DB) *gorm.DB { return db.Model(&Part{}).Not("qty = ?", 2).Update("qty", 41) }),
		one("update by model's key and where", &Part{ID: 2}, func(db *gorm.DB, m *Part) *gorm.DB { return db.Model(m).Where("qty = 2").Update("qty", 42) }),
		bare("update of a soft-deleted row", func(db *gorm.DB) *gorm.DB {
			db.Delete(&User{}, 1)
			db.Model(&User{ID: 1}).Update("age", 50)
			return db.Unscoped().Model(&User{ID: 1}).Update("age", 51)
		}),
		bare("touch only", func(db *gorm.DB) *gorm.DB {
			return db.Model(&User{ID: 1}).UpdateColumn("updated_at", noon().AddDate(0, 0, 1))
		}),
		one("select all and updates", &User{ID: 1}, func(db *gorm.DB, m *User) *gorm.DB {
			return db.Model(m).Select("*").Omit("id").Updates(User{Name: name})
		}),
		{name: "generics updates", run: func(db *gorm.DB) string {
			n, err := gorm.G[Part](db).Where("qty > ?", 1).Updates(context.Background(), Part{Qty: 9})
			return fmt.Sprint(n, err)
		}},
		{name: "generics set and update", run: func(db *gorm.DB) string {
			n, err := gorm.G[Part](db).Where("qty > ?", 1).Set(clause.Assignment{Column: clause.Column{Name: "qty"}, Value: gorm.Expr("qty + 1")}).Update(context.Background())
			return fmt.Sprint(n, err)
		}},
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

func keyChanges() []scenario {
	return []scenario{
		bare("update key", func(db *gorm.DB) *gorm.DB { return db.Model(&Part{ID: 2}).Update("id", 90) }),
		bare("update text key", func(db *gorm.DB) *gorm.DB {
			return db.Model(&Language{Code: "en"}).Updates(Language{Code: "xx", Name: "y"})
		}),
		bare("update half of key", func(db *gorm.DB) *gorm.DB { return db.Model(&Seat{}).Where("hall = 'a'").Update("hall", "q") }),
		bare("update keys by expression", func(db *gorm.DB) *gorm.DB {
			return db.Model(&Part{}).Where("id > 1").Updates(map[string]any{"id": gorm.Expr("id + 10")})
		}),
		bare("update keys shifted", func(db *gorm.DB) *gorm.DB {
			return db.Model(&Seat{}).Where("hall = 'a'").Update("place", gorm.Expr("place + 10"))
		}),
	}
}

func returningUpdates() []scenario {
	return []scenario{
		on(one("update returning all", &User{ID: 1}, func(db *gorm.DB, m *User) *gorm.DB {
			return db.Model(m).Clauses(clause.Returning{}).Update("age", 12)
		}), testdb.Postgres, testdb.SQLite),
		one("update returning some", &User{ID: 1}, func(db *gorm.DB, m *User) *gorm.DB {
			return db.Model(m).Clauses(clause.Returning{Columns: []clause.Column{{Name: "age"}, {Name: "name"}}}).Update("age", gorm.Expr("age + 1"))
		}),
		several("update returning slice", func(db *gorm.DB, m *[]Part) *gorm.DB {
			return db.Model(m).Clauses(clause.Returning{}).Where("qty > 1").Update("qty", gorm.Expr("qty + 1"))
		}),
		several("update returning expression", func(db *gorm.DB, m *[]Part) *gorm.DB {
			return db.Model(m).Clauses(clause.Returning{Columns: []clause.Column{{Name: "id"}, {Name: "qty * 10", Raw: true, Alias: "parts"}}}).
				Where("qty > 1").Update("qty", gorm.Expr("qty + 1"))
		}),
	}
}

func saves() []scenario {
	return []scenario{
		one("save existing", &User{ID: 1, Name: "ann2", Email: mail("ann@x"), Age: 11}, func(db *gorm.DB, m *User) *gorm.DB { return db.Save(m) }),
		one("save missing", &User{ID: 90, Name: "s"}, func(db *gorm.DB, m *User) *gorm.DB { return db.Save(m) }),
		one("save zero", &User{Name: "s"}, func(db *gorm.DB, m *User) *gorm.DB { return db.Save(m) }),
		one("save slice", &[]User{{ID: 2, Name: "bob2"}, {Name: "n"}}, func(db *gorm.DB, m *[]User) *gorm.DB { return db.Save(m) }),
		one("save composite", &Seat{Hall: "a", Place: 2, Taken: true, Note: "n"}, func(db *gorm.DB, m *Seat) *gorm.DB { return db.Save(m) }),
		one("save missing, composite", &Seat{Hall: "z", Place: 2, Note: "n"}, func(db *gorm.DB, m *Seat) *gorm.DB { return db.Save(m) }),
		one("save missing, text key", &Language{"fr", "French"}, func(db *gorm.DB, m *Language) *gorm.DB { return db.Save(m) }),
		one("save missing, in a transaction", &User{ID: 90, Name: "s"}, func(db *gorm.DB, m *User) *gorm.DB {
			var last *gorm.DB
			_ = db.Transaction(func(tx *gorm.DB) error { last = tx.Save(m); return last.Error })
			return last
		}),
		one("save missing, selected", &User{ID: 90, Name: "s", Age: 5}, func(db *gorm.DB, m *User) *gorm.DB { return db.Select("name").Save(m) }),
		one("save missing, omitted", &User{ID: 90, Name: "s", Age: 5}, func(db *gorm.DB, m *User) *gorm.DB { return db.Omit("name").Save(m) }),
		one("save unchanged", &Part{ID: 1, Parts: 1, Qty: 1}, func(db *gorm.DB, m *Part) *gorm.DB { return db.Save(m) }),
		one("save a soft-deleted row", &User{ID: 1, Name: "back"}, func(db *gorm.DB, m *User) *gorm.DB {
			db.Delete(&User{}, 1)
			return db.Save(m)
		}),
		one("save with where", &Part{ID: 1, Qty: 9}, func(db *gorm.DB, m *Part) *gorm.DB { return db.Where("qty = 1").Save(m) }),
		one("save slice of pointers", &[]*Part{{ID: 1, Qty: 9}, {Qty: 5}}, func(db *gorm.DB, m *[]*Part) *gorm.DB { return db.Save(*m) }),
		one("save slice, composite", &[]Seat{{Hall: "a", Place: 2, Taken: true}, {Hall: "z", Place: 3}}, func(db *gorm.DB, m *[]Seat) *gorm.DB { return db.Save(m) }),
		one("save duplicate", &User{ID: 90, Name: "s", Email: mail("ann@x")}, func(db *gorm.DB, m *User) *gorm.DB { return db.Save(m) }),
	}
}
