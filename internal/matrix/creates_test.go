package matrix_test

import (
	"context"
	"fmt"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

func creates() []scenario {
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
		one("first or create", &User{}, func(db *gorm.DB, m *User) *gorm.DB {
			return db.Where(User{Name: "zoe"}).Attrs(User{Age: 4}).FirstOrCreate(m)
		}),
		one("first or create found", &User{}, func(db *gorm.DB, m *User) *gorm.DB {
			return db.Where(User{Name: "ann"}).Assign(User{Age: 4}).FirstOrCreate(m)
		}),
		one("first or init and save", &User{}, func(db *gorm.DB, m *User) *gorm.DB {
			db.Where(User{Name: "yve"}).Attrs(User{Age: 4}).FirstOrInit(m)
			return db.Save(m)
		}),
		one("create in batches of a session", &[]User{{Name: "a"}, {Name: "b"}, {Name: "c"}}, func(db *gorm.DB, m *[]User) *gorm.DB {
			return db.Session(&gorm.Session{CreateBatchSize: 2}).Create(m)
		}),
		one("create in batches, one too many", &[]User{{Name: "a"}, {Name: "b"}, {Name: "c", Email: mail("ann@x")}}, func(db *gorm.DB, m *[]User) *gorm.DB {
			return db.CreateInBatches(m, 2)
		}),
		one("create pointer to pointer", &User{Name: "a"}, func(db *gorm.DB, m *User) *gorm.DB { return db.Create(&m) }),
		{name: "generics create in batches", run: func(db *gorm.DB) string {
			list := []Part{{Qty: 8}, {Qty: 9}, {Qty: 10}}
			err := gorm.G[Part](db).CreateInBatches(context.Background(), &list, 2)
			return fmt.Sprint(err, list)
		}},
		{name: "generics set and create", run: func(db *gorm.DB) string {
			err := gorm.G[Part](db).Set(clause.Assignment{Column: clause.Column{Name: "qty"}, Value: 8}).Create(context.Background())
			return fmt.Sprint(err)
		}},
		{name: "generics create", run: func(db *gorm.DB) string {
			p := Part{Qty: 8}
			err := gorm.G[Part](db).Create(context.Background(), &p)
			return fmt.Sprint(err, p)
		}},
	}
}
