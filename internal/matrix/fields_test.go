package matrix_test

import (
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// fields are writes of fields that are not plain columns.
func fields() []scenario {
	parcel := func() *Parcel {
		return &Parcel{
			Size: Box{4, 5}, Labels: map[string]string{"k": "v"}, Blob: []string{"a", "b"}, Sent: noon().Unix(), Price: Money{250, "CHF"},
			Seen: 9, Pin: "42", Origin: "there", Changed: "ignored", Free: "free",
		}
	}
	return []scenario{
		one("fields, create", parcel(), func(db *gorm.DB, m *Parcel) *gorm.DB { return db.Create(m) }),
		one("fields, save", parcel(), func(db *gorm.DB, m *Parcel) *gorm.DB { m.ID = 1; return db.Save(m) }),
		one("fields, updates", &Parcel{ID: 1}, func(db *gorm.DB, m *Parcel) *gorm.DB { return db.Model(m).Updates(parcel()) }),
		one("embedded field", &Parcel{ID: 1}, func(db *gorm.DB, m *Parcel) *gorm.DB { return db.Model(m).Update("box_width", 7) }),
		one("serializer field", &Parcel{ID: 1}, func(db *gorm.DB, m *Parcel) *gorm.DB {
			return db.Model(m).Updates(Parcel{Labels: map[string]string{"z": "y"}, Blob: []string{"q"}})
		}),
		one("Valuer field", &Parcel{ID: 1}, func(db *gorm.DB, m *Parcel) *gorm.DB { return db.Model(m).Update("price", Money{1, "USD"}) }),
		one("read-only field", &Parcel{ID: 1}, func(db *gorm.DB, m *Parcel) *gorm.DB {
			return db.Model(m).Updates(map[string]any{"seen": 5, "origin": "no"})
		}),
		one("write-only field alone", &Parcel{ID: 1}, func(db *gorm.DB, m *Parcel) *gorm.DB { return db.Model(m).Update("pin", "77") }),
		one("write-only field and another", &Parcel{ID: 1}, func(db *gorm.DB, m *Parcel) *gorm.DB {
			return db.Model(m).Updates(map[string]any{"pin": "77", "state": "x"})
		}),
		one("generated column by its source", &Parcel{ID: 1}, func(db *gorm.DB, m *Parcel) *gorm.DB {
			return db.Model(m).Update("box_height", gorm.Expr("box_height + 1"))
		}),
		one("default of the database", &[]Parcel{{Sent: 86400}, {Sent: 86400, State: "given"}}, func(db *gorm.DB, m *[]Parcel) *gorm.DB { return db.Create(m) }),
		bare("key that the database makes", func(db *gorm.DB) *gorm.DB { return db.Create(&Voucher{Name: "n"}) }),
		bare("keys that the database makes", func(db *gorm.DB) *gorm.DB { return db.Create(&[]Voucher{{Name: "a"}, {ID: "given", Name: "b"}}) }),
		bare("upsert with keys that the database makes", func(db *gorm.DB) *gorm.DB {
			return db.Clauses(updating(conflict("id"), "name")).Create(&[]Voucher{{ID: "v1", Name: "a"}, {ID: "v2", Name: "b"}})
		}),
		one("NUL, quotes and other characters", &Part{}, func(db *gorm.DB, _ *Part) *gorm.DB {
			return db.Create(&[]Language{{"q", `'"\` + "`"}, {"ü", "日本語 🐘"}})
		}),
	}
}

// tables are writes of tables with triggers, of views and of partitions.
func tables() []scenario {
	both := []testdb.Dialect{testdb.Postgres, testdb.MySQL}
	return []scenario{
		on(one("trigger that changes the row, create", &[]Stamp{{Name: "low"}, {Name: "Mid"}}, func(db *gorm.DB, m *[]Stamp) *gorm.DB { return db.Create(m) }), both...),
		on(bare("trigger that changes the row, update", func(db *gorm.DB) *gorm.DB { return db.Model(&Stamp{ID: 1}).Update("name", "low") }), both...),
		on(bare("trigger that changes the row, upsert", func(db *gorm.DB) *gorm.DB {
			return db.Clauses(updating(conflict("id"), "name")).Create(&[]Stamp{{1, "low", 1}, {2, "new", 1}})
		}), both...),
		on(bare("trigger that suppresses the row, create", func(db *gorm.DB) *gorm.DB { return db.Create(&[]Stamp{{Name: "a", Rank: -1}, {Name: "b"}}) }), testdb.Postgres),
		on(bare("trigger that suppresses the row, update", func(db *gorm.DB) *gorm.DB { return db.Model(&Stamp{ID: 1}).Update("rank", -1) }), testdb.Postgres),
		on(bare("view, create", func(db *gorm.DB) *gorm.DB { return db.Create(&BigPart{ID: 20, Qty: 5}) }), both...),
		on(bare("view, update", func(db *gorm.DB) *gorm.DB { return db.Model(&BigPart{}).Where("parts > 1").Update("qty", 9) }), both...),
		on(bare("view, update out of it", func(db *gorm.DB) *gorm.DB { return db.Model(&BigPart{ID: 2}).Update("qty", 0) }), testdb.Postgres),
		on(bare("view, delete", func(db *gorm.DB) *gorm.DB { return db.Delete(&BigPart{}, 2) }), both...),
		on(bare("partition, create", func(db *gorm.DB) *gorm.DB { return db.Create(&[]Reading{{"north", 8, 8}, {"south", 9, 9}}) }), testdb.Postgres),
		on(bare("partition, update", func(db *gorm.DB) *gorm.DB {
			return db.Model(&Reading{}).Where("qty > 1").Update("qty", gorm.Expr("qty * 2"))
		}), testdb.Postgres),
		on(bare("partition, update that moves rows", func(db *gorm.DB) *gorm.DB {
			return db.Model(&Reading{}).Where("region = 'north'").Update("region", "south")
		}), testdb.Postgres),
		on(bare("partition, upsert", func(db *gorm.DB) *gorm.DB {
			return db.Clauses(updating(conflict("region", "id"), "qty")).Create(&[]Reading{{"north", 1, 7}, {"south", 9, 9}})
		}), testdb.Postgres),
		on(bare("partition, delete", func(db *gorm.DB) *gorm.DB { return db.Delete(&Reading{}, "qty > 1") }), testdb.Postgres),
		{name: "grants on columns, create", only: []testdb.Dialect{testdb.Postgres}, stage: granted(func(db *gorm.DB) error {
			return db.Create(&Visible{ID: 5, Qty: 5}).Error
		})},
		{name: "grants on columns, update", only: []testdb.Dialect{testdb.Postgres}, stage: granted(func(db *gorm.DB) error {
			return db.Model(&Visible{}).Where("qty > 0").Update("qty", gorm.Expr("qty + 1")).Error
		})},
		{name: "grants on columns, upsert", only: []testdb.Dialect{testdb.Postgres}, stage: granted(func(db *gorm.DB) error {
			return db.Clauses(updating(conflict("id"), "qty")).Create(&[]Visible{{1, 5}, {7, 7}}).Error
		})},
		{name: "grants on columns, delete", only: []testdb.Dialect{testdb.Postgres}, stage: granted(func(db *gorm.DB) error {
			return db.Delete(&Visible{}, "qty > 1").Error
		})},
		bare("another struct over a table that no model is registered for", func(db *gorm.DB) *gorm.DB {
			db.Create(&CompanyName{ID: 50, Name: "n"})
			return db.Model(&CompanyName{ID: 1}).Update("name", "x")
		}),
	}
}
