package reliable_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Named has columns whose names must be quoted, and one as long as names may be
// on PostgreSQL, 63 bytes.
type Named struct {
	Key    int64  `gorm:"column:Ключ 1;primaryKey;autoIncrement:false"`
	Word   string `gorm:"column:select;size:50"`
	Text   string `gorm:"column:it's ? $1 %s @x -- /* \"x\";size:50"`
	Long   int    `gorm:"column:жжжжжжжжжжжжжжжжжжжжжжжжжжжжжжx"`
	Secret string `gorm:"column:Größe in m²;size:50" reliable:"sensitive"`
}

// TableName implements gorm's schema.Tabler.
func (Named) TableName() string { return "it's ? $1 %s; DROP TABLE outbox_entries; --" }

// Names of tables and columns go into SQL as names, whatever is in them (73).
func TestNames(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		const callback = "it's ? ; DROP TABLE outbox_entries; --"
		var told []string
		r := new(reliable.Registry)
		reliable.Register(r, reliable.Model[Named]{CausalityKey: func(n *Named) string { return n.Word }})
		reliable.AfterCommit(r, reliable.Callback[Named]{Name: callback, Run: func(_ context.Context, c reliable.Change[Named]) error {
			text := fmt.Sprint(c.Operation)
			for _, image := range []*Named{c.Before(), c.After()} {
				if image != nil {
					text += fmt.Sprintf(" %d/%s/%s/%d/%s", image.Key, image.Word, image.Text, image.Long, image.Secret)
				}
			}
			told = append(told, text)
			return nil
		}})
		db := testdb.New(t, d).Open(t)
		plugin := reliable.New(reliable.Config{Registry: r, StrictOrder: true})
		if err := errors.Join(db.AutoMigrate(&Named{}), db.Use(plugin), migrations.Up(t.Context(), db)); err != nil {
			t.Fatal(err)
		}
		const text = "it's ? $1 %s @x -- /* \"x\""
		for _, write := range []func() *gorm.DB{
			func() *gorm.DB { return db.Create(&[]Named{{1, "a'; --", "x", 1, "s"}, {2, "b", "y", 2, "t"}}) },
			func() *gorm.DB {
				return db.Model(&Named{}).Where(map[string]any{"select": "b"}).Updates(map[string]any{text: "z", "Größe in m²": "u"})
			},
			func() *gorm.DB { return db.Save(&Named{1, "a'; --", "w", 3, "s"}) },
			func() *gorm.DB {
				return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&Named{2, "b", "v", 4, "u"})
			},
			func() *gorm.DB { return db.Delete(&Named{Key: 1}) },
		} {
			if tx := write(); tx.Error != nil || tx.RowsAffected == 0 {
				t.Fatalf("%d rows, %v", tx.RowsAffected, tx.Error)
			}
			list := take(t, db)
			for _, e := range list {
				e.Owed = []string{callback}
				if out := process(t.Context(), plugin.NewBatch(db, list, 1, time.Now()), e); out.State != reliable.StateDone {
					t.Errorf("entry %d: %s", e.ID, out.ErrorMessage)
				}
			}
		}
		want := []string{
			"create 1/a'; --/x/1/s", "create 2/b/y/2/t", "update 2/b/y/2/t 2/b/z/2/u", "update 1/a'; --/x/1/s 1/a'; --/w/3/s",
			"update 2/b/z/2/u 2/b/v/4/u", "destroy 1/a'; --/w/3/s",
		}
		if diff := cmp.Diff(want, told); diff != "" {
			t.Errorf("callbacks were told (-want +got):\n%s", diff)
		}
	})
}

// Names of the outbox's own tables are held to what needs no quotes (73).
func TestNamesOfTables(t *testing.T) {
	for _, name := range []string{"x; drop table y", "x'", `x"y`, "x`y", "схема", "a.b", "1x", "x y", "../x", "{{.}}", "x\x00", strings.Repeat("x", 41), " "} {
		for field, tables := range map[string]reliable.Tables{"Schema": {Schema: name}, "Prefix": {Prefix: name}} {
			db := testdb.New(t, testdb.SQLite).Open(t)
			err := db.Use(reliable.New(reliable.Config{Registry: new(reliable.Registry), AllModels: true, Tables: tables}))
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("Tables.%s %q: want letters, digits and _", field, name)) && !strings.Contains(err.Error(), fmt.Sprintf("tables.%s %q: want letters, digits and _", field, name)) {
				t.Errorf("Use() with %s %q = %v, want what is wanted", field, name, err)
			}
		}
	}
}
