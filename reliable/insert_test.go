package reliable_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Tag is a model whose key is any text.
type Tag struct {
	Name string `gorm:"primaryKey;size:100"`
	Qty  int
}

// tags opens a database with the plugin, where any number of rows is captured.
func tags(t *testing.T, d testdb.Dialect) *gorm.DB {
	t.Helper()
	r := new(reliable.Registry)
	reliable.AfterCommit(r, reliable.Callback[Tag]{Name: "index", Run: nothing[Tag]})
	r.Handle("events", "count", reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error { return nil }))
	db := testdb.New(t, d).Open(t)
	if err := db.AutoMigrate(&Tag{}); err != nil {
		t.Fatal(err)
	}
	if err := db.Use(reliable.New(reliable.Config{Registry: r})); err != nil {
		t.Fatal(err)
	}
	if err := migrations.Up(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	return db
}

// stored is a row of the outbox, NULL as "-".
type stored struct {
	ID, Kind               int64
	Event, Key, Args, Wait string
}

func outbox(t *testing.T, db *gorm.DB) []stored {
	t.Helper()
	var rows []stored
	err := db.Raw("SELECT id, kind, event_name AS event, COALESCE(causality_key, '-') AS " + `"key"` + ", COALESCE(arguments, '-') AS args, " +
		"CASE WHEN retry_at IS NULL THEN '-' ELSE 'later' END AS wait FROM outbox_entries ORDER BY id").Scan(&rows).Error
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// Entries of many statements' size are written in order, each with its own
// values, whatever characters they hold.
func TestRecordAllKeepsOrderAndValues(t *testing.T) {
	texts := []string{`plain`, `"quoted"`, `back\slash`, `{a,b}`, `NULL`, `'`, `ü€😀`, "tab\tline\n", ``, ` `, `\`, `"`}
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		db := tags(t, d)
		var given []reliable.Entry
		var want []stored
		for i := range 1201 {
			e := reliable.Entry{Context: "events", EventName: fmt.Sprint("e", i%3), Arguments: texts[i%len(texts)] + strconv.Itoa(i)}
			e.CausalityKey = texts[i%7*i%len(texts)]
			args, err := json.Marshal(e.Arguments)
			if err != nil {
				t.Fatal(err)
			}
			row := stored{Kind: reliable.EntryKind("events", "", e.EventName, []string{"count"}), Event: e.EventName, Key: e.CausalityKey, Args: string(args), Wait: "-"}
			if row.Key == "" {
				row.Key = "-"
			}
			if i%5 == 0 {
				e.RunAt, row.Wait = time.Now().Add(time.Hour), "later"
			}
			given, want = append(given, e), append(want, row)
		}
		var ids []int64
		err := db.Transaction(func(tx *gorm.DB) (err error) {
			ids, err = reliable.RecordAll(t.Context(), tx, given)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.IsSorted(ids) || len(ids) != len(want) {
			t.Fatalf("RecordAll() = %d ids, sorted %v, want %d in order", len(ids), slices.IsSorted(ids), len(want))
		}
		for i, id := range ids {
			want[i].ID = id
		}
		if diff := cmp.Diff(want, outbox(t, db)); diff != "" {
			t.Errorf("the outbox (-want +got):\n%s", diff)
		}
	})
}

// A captured batch is written in the order of its rows, with its keys as they
// are.
func TestCapturedBatchKeepsOrderAndKeys(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		db := tags(t, d)
		var batch []Tag
		for i, text := range []string{`NULL`, `"`, `\`, `{}`, `a,b`, `\"`, `'`, `ü€😀`, `{"NULL"}`, "tab\t"} {
			batch = append(batch, Tag{Name: text + strconv.Itoa(i)})
		}
		for i := range 1201 {
			batch = append(batch, Tag{Name: fmt.Sprint("n", 5000-i)})
		}
		if err := db.Create(&batch).Error; err != nil {
			t.Fatal(err)
		}
		var got []string
		if err := db.Raw("SELECT resource_id FROM outbox_entries ORDER BY id").Scan(&got).Error; err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, tag := range batch {
			want = append(want, tag.Name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the outbox's keys (-want +got):\n%s", diff)
		}
	})
}
