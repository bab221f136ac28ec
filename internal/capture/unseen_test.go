package capture_test

import "gorm.io/gorm"

// unseen are the writes that no GORM callback sees, or sees without a model.
// The documentation names them.
func unseen() []scenario {
	const (
		raw   = "raw SQL has no model; record it with `reliable.Record`"
		table = "no model: the plugin refuses it for the table of a registered one, unless `AllowUncaptured`; add `Model`"
	)
	because := func(why string, s scenario) scenario { s.why = why; return s }
	return []scenario{
		because(raw, bare("raw insert", func(db *gorm.DB) *gorm.DB { return db.Exec("INSERT INTO parts (parts, qty) VALUES (7, 7)") })),
		because(raw, bare("raw update", func(db *gorm.DB) *gorm.DB { return db.Exec("UPDATE parts SET qty = 9 WHERE id = 1") })),
		because(raw, bare("raw delete", func(db *gorm.DB) *gorm.DB { return db.Exec("DELETE FROM parts WHERE id = 1") })),
		because(raw, bare("raw in a transaction", func(db *gorm.DB) *gorm.DB {
			tx := db.Begin()
			tx.Exec("UPDATE parts SET qty = 9")
			return tx.Commit()
		})),
		because(table, bare("create map in table", func(db *gorm.DB) *gorm.DB {
			return db.Table("parts").Create(map[string]any{"parts": 7, "qty": 7})
		})),
		because(table, bare("update table", func(db *gorm.DB) *gorm.DB { return db.Table("parts").Where("id = 1").Update("qty", 9) })),
		because(table, bare("updates map in table", func(db *gorm.DB) *gorm.DB {
			return db.Table("parts").Where("id > 1").Updates(map[string]any{"qty": 9})
		})),
	}
}
