package reliable_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Item is the model of the capture tests.
type Item struct {
	ID        uint
	Code      string `gorm:"size:40;uniqueIndex"`
	Qty       int
	Note      *string
	DeletedAt gorm.DeletedAt
}

// Plain is a model without soft delete.
type Plain struct {
	ID  uint
	Qty int
}

// shop opens a database with the plugin, the outbox's tables and the models'.
func shop(t *testing.T, d testdb.Dialect, opts ...gorm.Option) *gorm.DB {
	t.Helper()
	r := new(reliable.Registry)
	reliable.AfterCommit(r, reliable.Callback[Item]{Name: "index", Run: nothing[Item]})
	reliable.AfterCommit(r, reliable.Callback[Item]{Name: "stock", On: reliable.OpUpdate, WhenChanged: []string{"Qty"}, Run: nothing[Item]})
	reliable.AfterCommit(r, reliable.Callback[Plain]{Name: "index", Run: nothing[Plain]})
	db := testdb.New(t, d).Open(t, opts...)
	if err := db.AutoMigrate(&Item{}, &Plain{}); err != nil {
		t.Fatal(err)
	}
	if err := db.Use(reliable.New(reliable.Config{Registry: r, MaxRows: 50})); err != nil {
		t.Fatal(err)
	}
	if err := migrations.Up(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	return db
}

// entries returns what is in the outbox as "event id owed {changes}".
func entries(t *testing.T, db *gorm.DB) []string {
	t.Helper()
	var rows []struct{ EventName, ResourceID, Owed, Changeset string }
	if err := db.Raw("SELECT event_name, resource_id, owed, changeset FROM outbox_entries ORDER BY id").Scan(&rows).Error; err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, row := range rows {
		var doc struct {
			Set map[string]json.RawMessage `json:"set"`
		}
		if err := json.Unmarshal([]byte(row.Changeset), &doc); err != nil {
			t.Fatal(err)
		}
		delete(doc.Set, "deleted_at")
		set, err := json.Marshal(doc.Set)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, fmt.Sprintf("%s %s %s %s", row.EventName, row.ResourceID, row.Owed, set))
	}
	return list
}

func TestCapture(t *testing.T) {
	note := "n"
	created := func(id int, code string, qty int) string {
		return fmt.Sprintf(`item_created %d ["index"] {"code":[null,"%s"],"id":[null,%d],"note":[null,null],"qty":[null,%d]}`, id, code, id, qty)
	}
	for _, tt := range []struct {
		name    string
		write   func(db *gorm.DB) error
		want    []string
		wantErr string
	}{
		{"create", func(db *gorm.DB) error { return db.Create(&Item{Code: "a", Qty: 1}).Error }, []string{created(4, "a", 1)}, ""},
		{"create batch", func(db *gorm.DB) error { return db.Create([]Item{{Code: "a"}, {Code: "b"}}).Error }, []string{created(4, "a", 0), created(5, "b", 0)}, ""},
		{"create in a skipped session", func(db *gorm.DB) error { return reliable.Skip(db).Create(&Item{Code: "a"}).Error }, nil, ""},
		{"do nothing on conflict", func(db *gorm.DB) error {
			return db.Clauses(clause.OnConflict{DoNothing: true}).Create([]Item{{ID: 1, Code: "dup"}, {ID: 50, Code: "new"}}).Error
		}, []string{created(50, "new", 0)}, ""},
		{"update all on conflict", func(db *gorm.DB) error {
			return db.Clauses(clause.OnConflict{UpdateAll: true}).Create([]Item{{ID: 1, Code: "x1", Qty: 9}, {ID: 60, Code: "new"}}).Error
		}, []string{`item_updated 1 ["index","stock"] {"qty":[1,9]}`, created(60, "new", 0)}, ""},
		{"save of an absent row", func(db *gorm.DB) error { return db.Save(&Item{ID: 70, Code: "s"}).Error }, []string{created(70, "s", 0)}, ""},
		{"update", func(db *gorm.DB) error { return db.Model(&Item{ID: 2}).Updates(Item{Qty: 7, Note: &note}).Error }, []string{`item_updated 2 ["index","stock"] {"note":[null,"n"],"qty":[2,7]}`}, ""},
		{"update of another field", func(db *gorm.DB) error { return db.Model(&Item{ID: 2}).Update("note", "n").Error }, []string{`item_updated 2 ["index"] {"note":[null,"n"]}`}, ""},
		{"update without a change", func(db *gorm.DB) error { return db.Model(&Item{ID: 2}).Update("qty", 2).Error }, nil, ""},
		{"bulk update of its own condition", func(db *gorm.DB) error {
			return db.Model(&Item{}).Where("qty >= ? OR qty = ?", 2, 100).Update("qty", gorm.Expr("qty - 5")).Error
		}, []string{`item_updated 2 ["index","stock"] {"qty":[2,-3]}`, `item_updated 3 ["index","stock"] {"qty":[3,-2]}`}, ""},
		{"no row", func(db *gorm.DB) error { return db.Model(&Item{}).Where("qty = 77").Update("qty", 1).Error }, nil, ""},
		{"changed primary key", func(db *gorm.DB) error { return db.Model(&Item{ID: 2}).Update("id", 90).Error }, []string{`item_updated 90 ["index"] {"id":[2,90]}`}, ""},
		{"soft delete", func(db *gorm.DB) error { return db.Delete(&Item{}, 1).Error }, []string{`item_destroyed 1 ["index"] {"code":["x1",null],"id":[1,null],"note":[null,null],"qty":[1,null]}`}, ""},
		{"restore", func(db *gorm.DB) error {
			if err := reliable.Skip(db).Delete(&Item{}, 1).Error; err != nil {
				return err
			}
			return db.Unscoped().Model(&Item{ID: 1}).Update("deleted_at", nil).Error
		}, []string{`item_updated 1 ["index"] {}`}, ""},
		{"delete by condition", func(db *gorm.DB) error { return db.Delete(&Plain{}, "qty > 1").Error }, []string{`plain_destroyed 2 ["index"] {"id":[2,null],"qty":[2,null]}`, `plain_destroyed 3 ["index"] {"id":[3,null],"qty":[3,null]}`}, ""},
		{"rolled back", func(db *gorm.DB) error {
			err := db.Transaction(func(tx *gorm.DB) error {
				return errors.Join(tx.Create(&Item{Code: "a"}).Error, errors.New("no"))
			})
			if err == nil {
				return errors.New("no error")
			}
			return nil
		}, nil, ""},
		{"rolled back savepoint", func(db *gorm.DB) error {
			return db.Transaction(func(tx *gorm.DB) error {
				_ = tx.Transaction(func(tx *gorm.DB) error {
					return errors.Join(tx.Create(&Item{Code: "a"}).Error, errors.New("no"))
				})
				return tx.Create(&Item{ID: 80, Code: "b"}).Error
			})
		}, []string{created(80, "b", 0)}, ""},
		{"dry run", func(db *gorm.DB) error { return db.Session(&gorm.Session{DryRun: true}).Create(&Item{Code: "a"}).Error }, nil, ""},
		{"without a transaction", func(db *gorm.DB) error {
			return db.Session(&gorm.Session{SkipDefaultTransaction: true}).Create(&Item{Code: "a"}).Error
		}, []string{created(4, "a", 0)}, ""},
		{"prepared statements", func(db *gorm.DB) error {
			tx := db.Session(&gorm.Session{PrepareStmt: true})
			return errors.Join(tx.Create(&Item{Code: "a"}).Error, tx.Model(&Item{ID: 4}).Update("qty", 8).Error)
		}, []string{created(4, "a", 0), `item_updated 4 ["index","stock"] {"qty":[0,8]}`}, ""},
		{"too many rows", func(db *gorm.DB) error {
			many := make([]Plain, 51)
			return db.Create(&many).Error
		}, nil, "more than 50 are not recorded"},
		{"cancelled", func(db *gorm.DB) error {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			return db.WithContext(ctx).Create(&Item{Code: "a"}).Error
		}, nil, "context canceled"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
				db := shop(t, d)
				seed := reliable.Skip(db)
				if err := errors.Join(
					seed.Create([]Item{{Code: "x1", Qty: 1}, {Code: "x2", Qty: 2}, {Code: "x3", Qty: 3}}).Error,
					seed.Create([]Plain{{Qty: 1}, {Qty: 2}, {Qty: 3}}).Error,
				); err != nil {
					t.Fatal(err)
				}
				err := tt.write(db)
				if tt.wantErr == "" && err != nil || tt.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tt.wantErr)) {
					t.Errorf("write: %v, want %q", err, tt.wantErr)
				}
				if diff := cmp.Diff(tt.want, entries(t, db)); diff != "" {
					t.Errorf("entries: -want +got\n%s", diff)
				}
			})
		})
	}
}

// An entry that can't be written takes the change with it, also when the
// application ignores the error and commits.
func TestCaptureFailsClosed(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		db := shop(t, d)
		if err := db.Exec("ALTER TABLE outbox_entries RENAME TO elsewhere").Error; err != nil {
			t.Fatal(err)
		}
		writes := map[string]func(tx *gorm.DB) error{
			"create": func(tx *gorm.DB) error { return tx.Create(&Item{Code: "a"}).Error },
			"update": func(tx *gorm.DB) error { return tx.Model(&Item{}).Where("1 = 1").Update("qty", 50).Error },
			"delete": func(tx *gorm.DB) error { return tx.Delete(&Item{}, "1 = 1").Error },
		}
		if err := reliable.Skip(db).Create(&Item{Code: "seed", Qty: 1}).Error; err != nil {
			t.Fatal(err)
		}
		for name, write := range writes {
			if err := write(db); err == nil || !strings.Contains(err.Error(), "migrations.Up(ctx, db)") {
				t.Errorf("%s: %v, want an error that says what to do", name, err)
			}
			if err := write(db.Session(&gorm.Session{SkipDefaultTransaction: true})); err == nil {
				t.Errorf("%s without a transaction: no error", name)
			}
			err := db.Transaction(func(tx *gorm.DB) error {
				_ = write(tx) // the application ignores it
				return nil
			})
			if err == nil {
				t.Errorf("%s: the commit went through", name)
			}
		}
		var items []Item
		if err := db.Find(&items).Error; err != nil {
			t.Fatal(err)
		}
		if len(items) != 1 || items[0].Qty != 1 {
			t.Errorf("items = %+v, want the seed alone, unchanged", items)
		}
	})
}

func TestRecord(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		r := new(reliable.Registry)
		r.Handle("service_object", "audit", reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error { return nil }))
		db := testdb.New(t, d).Open(t)
		if err := errors.Join(db.Use(reliable.New(reliable.Config{Registry: r})), migrations.Up(t.Context(), db)); err != nil {
			t.Fatal(err)
		}
		entry := reliable.Entry{Context: "service_object", EventName: "invoice_sent", Arguments: map[string]int{"id": 7}, CausalityKey: "tenant-7"}
		if _, err := reliable.Record(t.Context(), db, entry); err == nil || !strings.Contains(err.Error(), "pass the tx given by db.Transaction") {
			t.Errorf("Record() outside a transaction = %v, want the way out", err)
		}
		err := db.Transaction(func(tx *gorm.DB) error {
			ids, err := reliable.RecordAll(t.Context(), tx, []reliable.Entry{entry, entry})
			if err == nil && (len(ids) != 2 || ids[0] >= ids[1]) {
				t.Errorf("RecordAll() = %v, want two growing ids", ids)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		var n int64
		if err := db.Raw("SELECT count(*) FROM outbox_entries WHERE context = 'service_object' AND owed = '[\"audit\"]' AND arguments = '{\"id\":7}' AND lane IS NOT NULL").Scan(&n).Error; err != nil || n != 2 {
			t.Errorf("recorded %d entries as expected (%v), want 2", n, err)
		}
	})
}

// ItemRow is not registered, but writes to the table of Item.
type ItemRow struct {
	ID  uint
	Qty int
}

// TableName implements gorm's schema.Tabler.
func (ItemRow) TableName() string { return "items" }

// What is seen and can't be recorded is refused, with the way out.
func TestUncapturedIsRefused(t *testing.T) {
	writes := map[string]func(db *gorm.DB) error{
		"without a model": func(db *gorm.DB) error { return db.Table("items").Where("id = 1").Update("qty", 9).Error },
		"with an alias":   func(db *gorm.DB) error { return db.Table("items AS i").Where("i.id = 1").Update("qty", 9).Error },
		"a map":           func(db *gorm.DB) error { return db.Table("items").Create(map[string]any{"code": "m"}).Error },
		"another struct":  func(db *gorm.DB) error { return db.Model(&ItemRow{ID: 1}).Update("qty", 9).Error },
		"raw SQL":         func(db *gorm.DB) error { return db.Exec(`UPDATE "items" SET qty = 9`).Error },
		"another schema":  func(db *gorm.DB) error { return db.Table("elsewhere.items").Create(&Item{Code: "s"}).Error },
		"another table":   func(db *gorm.DB) error { return db.Table("plains").Where("id = 1").Delete(&Item{}).Error },
	}
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		for name, write := range writes {
			db := shop(t, d)
			if err := reliable.Skip(db).Create(&Item{Code: "x", Qty: 1}).Error; err != nil {
				t.Fatal(err)
			}
			if err := write(db); err == nil || !strings.Contains(err.Error(), "reliable.Skip") {
				t.Errorf("%s: %v, want an error that names the way out", name, err)
			}
			var item Item
			if err := db.First(&item).Error; err != nil || item.Qty != 1 {
				t.Errorf("%s: the row is %+v, %v, want it unchanged", name, item, err)
			}
			if err := write(reliable.Skip(db)); err != nil && strings.Contains(err.Error(), "reliable:") {
				t.Errorf("%s, skipped: %v", name, err)
			}
		}
	})
}

func TestAllowUncaptured(t *testing.T) {
	r := new(reliable.Registry)
	reliable.AfterCommit(r, reliable.Callback[Item]{Name: "index", Run: nothing[Item]})
	db := testdb.New(t, testdb.SQLite).Open(t)
	if err := errors.Join(db.AutoMigrate(&Item{}), db.Use(reliable.New(reliable.Config{Registry: r, AllowUncaptured: true})), migrations.Up(t.Context(), db),
		db.Table("items").Create(map[string]any{"code": "m"}).Error); err != nil {
		t.Fatal(err)
	}
	if got := entries(t, db); len(got) > 0 {
		t.Errorf("entries = %q, want none", got)
	}
}
