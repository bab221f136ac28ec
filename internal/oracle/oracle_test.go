package oracle_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/oracle"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Thing has a field of each type that drivers deliver.
type Thing struct {
	ID        uint
	Name      string `gorm:"size:40"`
	Flag      bool
	Big       int64
	Huge      uint64
	Real      float64
	Small     float32
	Price     string `gorm:"type:decimal(10,2)"`
	Data      []byte
	At        time.Time
	Note      *string `gorm:"size:40"`
	Secret    string  `gorm:"->:false;<-;size:20"`
	Labels    []Label `gorm:"many2many:thing_labels"`
	UpdatedAt time.Time
	DeletedAt gorm.DeletedAt
}

// Label has a composite key.
type Label struct {
	Space string `gorm:"primaryKey;size:20"`
	Name  string `gorm:"primaryKey;size:20"`
	Rank  int
}

// things opens a database with the plugin and the triggers.
func things(t *testing.T, d testdb.Dialect) (*gorm.DB, *oracle.Log) {
	t.Helper()
	r := new(reliable.Registry)
	reliable.Register(r, reliable.Model[Thing]{})
	reliable.Register(r, reliable.Model[Label]{})
	r.Handle(reliable.ContextModel, "audit", reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error { return nil }))
	db := testdb.New(t, d).Open(t)
	if err := errors.Join(db.AutoMigrate(&Thing{}, &Label{}), db.Use(reliable.New(reliable.Config{Registry: r})), migrations.Up(t.Context(), db)); err != nil {
		t.Fatal(err)
	}
	return db, oracle.Watch(t, db, &Thing{}, &Label{})
}

// write makes changes of every kind.
func write(t *testing.T, db *gorm.DB) {
	t.Helper()
	note := `a "note"`
	at := time.Date(2026, 7, 1, 12, 0, 0, 123000000, time.FixedZone("", 3600))
	quiet := reliable.Skip(db)
	if err := errors.Join(
		db.Create([]Thing{
			{Name: "ünïcode", Flag: true, Big: math.MaxInt64, Huge: 1 << 62, Real: 0.1, Small: 0.1, Price: "1.10", Data: []byte{0, 255}, At: at, Note: &note, Secret: "s"},
			{Name: "", Big: math.MinInt64, Real: 1, Price: "0", At: at},
		}).Error,
		db.Create(&Label{Space: "a", Name: "b"}).Error,
		db.Model(&Thing{}).Where("id > 0").Updates(map[string]any{"real": gorm.Expr("id * 1.5"), "note": nil}).Error,
		db.Model(&Thing{ID: 1}).Update("name", "").Error,
		db.Model(&Thing{ID: 1}).UpdateColumn("updated_at", at).Error, // counts as no change
		db.Model(&Thing{ID: 1}).UpdateColumn("secret", "other").Error,
		db.Model(&Label{Space: "a", Name: "b"}).Update("rank", 2).Error,
		db.Model(&Label{Space: "a", Name: "b"}).Update("name", "c").Error,
		db.Delete(&Thing{}, 1).Error,
		db.Unscoped().Model(&Thing{ID: 1}).Update("deleted_at", nil).Error,
		db.Unscoped().Delete(&Thing{}, 2).Error,
		db.Create(&Thing{ID: 2, At: at, Price: "0"}).Error,
		db.Delete(&Label{Space: "a", Name: "c"}).Error,
		quiet.Exec("UPDATE things SET big = big").Error,
	); err != nil {
		t.Fatal(err)
	}
}

func TestDiff(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		db, log := things(t, d)
		write(t, db)
		if diff := log.Diff(t); diff != "" {
			t.Errorf("Diff: -triggers +entries\n%s", diff)
		}
		if changes, entries := log.Changes(t), log.Entries(t); len(changes) != 13 || len(entries) != 13 {
			t.Errorf("%d changes, %d entries, want 13 of each:\n%s\n\n%s", len(changes), len(entries), strings.Join(changes, "\n"), strings.Join(entries, "\n"))
		}
		log.Reset(t)
		if changes, entries := log.Changes(t), log.Entries(t); len(changes)+len(entries) != 0 {
			t.Errorf("after Reset: %q, %q", changes, entries)
		}
	})
}

// Whatever is wrong with an entry is a difference.
func TestDiffTells(t *testing.T) {
	lies := map[string]string{
		"missing":       "DELETE FROM outbox_entries WHERE id = 4",
		"invented":      "INSERT INTO outbox_entries (context, resource_class, resource_id, event_name, changeset) SELECT context, resource_class, resource_id, event_name, changeset FROM outbox_entries WHERE id = 3",
		"order":         "UPDATE outbox_entries SET id = 100 WHERE id = 1",
		"value":         `UPDATE outbox_entries SET changeset = replace(changeset, '9223372036854775807', '9223372036854775806')`,
		"old value":     `UPDATE outbox_entries SET changeset = replace(changeset, '"name":["ünïcode",', '"name":["x",')`,
		"decimal":       `UPDATE outbox_entries SET changeset = replace(changeset, '1.10', '1.1')`,
		"bytes":         `UPDATE outbox_entries SET changeset = replace(changeset, '"AP8="', '"AP4="')`,
		"microseconds":  `UPDATE outbox_entries SET changeset = replace(changeset, '.123', '.124')`,
		"null":          `UPDATE outbox_entries SET changeset = replace(changeset, '[null,null]', '[null,""]')`,
		"column":        `UPDATE outbox_entries SET changeset = replace(changeset, '"note":', '"nope":')`,
		"soft":          `UPDATE outbox_entries SET changeset = replace(changeset, ',"soft_deleted":true', '')`,
		"restored":      `UPDATE outbox_entries SET changeset = replace(changeset, ',"restored":true', '')`,
		"operation":     `UPDATE outbox_entries SET event_name = 'thing_created' WHERE event_name = 'thing_destroyed'`,
		"id":            `UPDATE outbox_entries SET resource_id = '7' WHERE id = 1`,
		"composite key": `UPDATE outbox_entries SET resource_id = '["a","x"]' WHERE event_name = 'label_destroyed'`,
		"class":         `UPDATE outbox_entries SET resource_class = 'Other' WHERE id = 1`,
		"unseen":        `UPDATE things SET huge = 9`,
	}
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		db, log := things(t, d)
		write(t, db)
		if log.Diff(t) != "" {
			t.Fatal("a difference before the lie")
		}
		for name, lie := range lies {
			if name == "decimal" && d == testdb.SQLite { // its decimals are numbers
				continue
			}
			differs(t, log, db, name, lie)
		}
	})
}

// differs tells a lie, wants a difference, and takes the lie back.
func differs(t *testing.T, log *oracle.Log, db *gorm.DB, name, lie string) {
	t.Helper()
	db = reliable.Skip(db)
	if err := db.Exec("CREATE TABLE kept AS SELECT * FROM outbox_entries").Error; err != nil {
		t.Fatal(err)
	}
	if err := db.Exec(lie).Error; err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if diff := log.Diff(t); diff == "" {
		t.Errorf("%s: no difference", name)
	}
	if err := errors.Join(db.Exec("DELETE FROM outbox_entries").Error, db.Exec("INSERT INTO outbox_entries SELECT * FROM kept").Error, db.Exec("DROP TABLE kept").Error); err != nil {
		t.Fatal(err)
	}
}
