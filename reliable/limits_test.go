package reliable_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Page is a model whose rows may be large.
type Page struct {
	ID   uint
	Rank int
	Text string `gorm:"size:16777215"`
}

func pages(t *testing.T, base testdb.DB, config reliable.Config) *gorm.DB {
	t.Helper()
	config.Registry = new(reliable.Registry)
	reliable.AfterCommit(config.Registry, reliable.Callback[Page]{Name: "index", Run: nothing[Page]})
	db := base.Open(t)
	if err := errors.Join(db.AutoMigrate(&Page{}), db.Use(reliable.New(config)), migrations.Up(t.Context(), db)); err != nil {
		t.Fatal(err)
	}
	return db
}

// recorded returns how many entries there are of an event, in how many rows.
func recorded(t *testing.T, db *gorm.DB, event string) (entries, rows int64) {
	t.Helper()
	var n struct{ Entries, Rows int64 }
	if err := db.Raw("SELECT count(*) AS entries, count(DISTINCT resource_id) AS \"rows\" FROM outbox_entries WHERE event_name = ?", event).Scan(&n).Error; err != nil {
		if err = db.Raw("SELECT count(*) AS entries, count(DISTINCT resource_id) AS `rows` FROM outbox_entries WHERE event_name = ?", event).Scan(&n).Error; err != nil {
			t.Fatal(err)
		}
	}
	return n.Entries, n.Rows
}

// The most rows that a statement may change by default, in one.
func TestManyRows(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		db := pages(t, testdb.New(t, d), reliable.Config{})
		const n = reliable.DefaultMaxRows
		rows := make([]Page, n)
		for i := range rows {
			rows[i].Rank = i
		}
		for _, step := range []struct {
			event string
			write func() *gorm.DB
		}{
			{"page_created", func() *gorm.DB { return db.Create(&rows) }},
			{"page_updated", func() *gorm.DB { return db.Model(&Page{}).Where("rank < ?", n).Update("rank", gorm.Expr("rank + 1")) }},
			{"page_destroyed", func() *gorm.DB { return db.Where("rank > 0").Delete(&Page{}) }},
		} {
			if tx := step.write(); tx.Error != nil || tx.RowsAffected != n {
				t.Fatalf("%s: %d rows, %v, want %d", step.event, tx.RowsAffected, tx.Error, n)
			}
			if entries, rows := recorded(t, db, step.event); entries != n || rows != n {
				t.Errorf("%s: %d entries of %d rows, want %d of each", step.event, entries, rows, n)
			}
		}
	})
}

// Together the entries take more than the databases take in one statement.
func TestLargeEntries(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		base := testdb.New(t, d)
		if d == testdb.MySQL {
			base.URL += "?interpolateParams=true" // the statement is one packet then
		}
		db := pages(t, base, reliable.Config{})
		const n = 24
		rows := make([]Page, n)
		for i := range rows {
			rows[i].Text = strings.Repeat("'\\", 450_000/2) // each byte takes two in JSON
		}
		if err := reliable.Skip(db).CreateInBatches(rows, 6).Error; err != nil {
			t.Fatal(err)
		}
		if err := db.Where("1 = 1").Delete(&Page{}).Error; err != nil {
			t.Fatal(err)
		}
		if entries, rows := recorded(t, db, "page_destroyed"); entries != n || rows != n {
			t.Errorf("%d entries of %d rows, want %d of each", entries, rows, n)
		}
	})
}

// What is beyond a limit is refused, with the way out, and not written.
func TestLimits(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		db := pages(t, testdb.New(t, d), reliable.Config{MaxRows: 3, MaxEntryBytes: 500})
		seed := []Page{{Rank: 1}, {Rank: 2}, {Rank: 3}, {Rank: 4, Text: strings.Repeat("x", 600)}}
		if err := reliable.Skip(db).Create(&seed).Error; err != nil {
			t.Fatal(err)
		}
		const rows, size = "4 rows of one statement, more than 3", "more than 500"
		for _, tt := range []struct {
			op, want, way string
			write         func(db *gorm.DB) error
		}{
			{"create", rows, "Config.MaxRows", func(db *gorm.DB) error { return db.Create(make([]Page, 4)).Error }},
			{"update", rows, "Config.MaxRows", func(db *gorm.DB) error { return db.Model(&Page{}).Where("rank > 0").Update("rank", 9).Error }},
			{"delete", rows, "Config.MaxRows", func(db *gorm.DB) error { return db.Where("rank > 0").Delete(&Page{}).Error }},
			{"create", size, "Config.MaxEntryBytes", func(db *gorm.DB) error { return db.Create(&Page{Text: strings.Repeat("x", 600)}).Error }},
			{"update", size, "Config.MaxEntryBytes", func(db *gorm.DB) error {
				return db.Model(&Page{}).Where("rank = 1").Update("text", strings.Repeat("x", 600)).Error
			}},
			{"delete", size, "Config.MaxEntryBytes", func(db *gorm.DB) error { return db.Where("rank = 4").Delete(&Page{}).Error }},
		} {
			for name, err := range map[string]error{
				"alone": tt.write(db),
				"in a transaction that commits all the same": db.Transaction(func(tx *gorm.DB) error {
					err := tt.write(tx)
					_ = tx.Commit() // the rows below tell whether it went through with the write
					return err
				}),
			} {
				if err == nil {
					t.Errorf("%s %s: no error", tt.op, name)
					continue
				}
				for _, want := range []string{tt.op, "Page", tt.want, tt.way, "reliable.Skip"} {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%s %s: %v, want it to name %q", tt.op, name, err, want)
					}
				}
			}
		}
		var got []Page
		if err := db.Order("id").Find(&got).Error; err != nil || fmt.Sprint(got) != fmt.Sprint(seed) {
			t.Errorf("rows are %v, %v, want %v", got, err, seed)
		}
	})
}

// A row that can't be read fails its own entry, not those beside it.
func TestUnreadableRowFailsAlone(t *testing.T) {
	r := new(reliable.Registry)
	reliable.AfterCommit(r, reliable.Callback[Vault]{Name: "see", Run: func(_ context.Context, c reliable.Change[Vault]) error {
		if c.Gone {
			return errors.New("gone")
		}
		return nil
	}})
	db := testdb.New(t, testdb.SQLite).Open(t)
	plugin := reliable.New(reliable.Config{Registry: r})
	if err := errors.Join(db.AutoMigrate(&Vault{}), db.Use(plugin), migrations.Up(t.Context(), db), db.Create([]Vault{{Pin: 1}, {Pin: 2}, {Pin: 3}}).Error,
		reliable.Skip(db).Model(&Vault{ID: 2}).Update("pin", gorm.Expr("'x'")).Error); err != nil {
		t.Fatal(err)
	}
	list := take(t, db)
	batch := plugin.NewBatch(db, list, 1, time.Now())
	for i, want := range []reliable.State{reliable.StateDone, reliable.StateRetry, reliable.StateDone} {
		if out := process(t.Context(), batch, list[i]); out.State != want {
			t.Errorf("entry %d: %v %s, want %v", i+1, out.State, out.ErrorMessage, want)
		}
	}
}

// Odd has a column whose name no document can hold.
type Odd struct {
	ID   uint
	Name string `gorm:"column:na\xffme"`
}

// What can't be carried is an error of the write, which is rolled back (70).
func TestWhatCannotBeCarried(t *testing.T) {
	r := new(reliable.Registry)
	reliable.AfterCommit(r, reliable.Callback[Odd]{Name: "see", Run: nothing[Odd]})
	db := testdb.New(t, testdb.SQLite).Open(t)
	if err := errors.Join(db.AutoMigrate(&Odd{}), db.Use(reliable.New(reliable.Config{Registry: r})), migrations.Up(t.Context(), db)); err != nil {
		t.Fatal(err)
	}
	err := db.Create(&Odd{Name: "a"}).Error
	for _, want := range []string{"create of Odd", `na\xffme`, "reliable.Skip", `reliable:"-"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("create = %v, want it to name %q", err, want)
		}
	}
	var n int64
	if err := db.Model(&Odd{}).Count(&n).Error; err != nil || n != 0 {
		t.Errorf("%d rows, %v, want none", n, err)
	}
	if err := reliable.Skip(db).Create(&Odd{Name: "a"}).Error; err != nil {
		t.Errorf("skipped: %v", err)
	}
}
