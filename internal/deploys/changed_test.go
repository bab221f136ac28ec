package deploys_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/outbox"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// ItemV1 is a model before its struct changed.
type ItemV1 struct {
	ID    uint
	Name  string
	Count int32
	Price int64
	Color string
	Size  string
}

// TableName implements gorm's Tabler.
func (ItemV1) TableName() string { return "items" }

// ItemV2 is the same model after: Name is called Title in Go, Count is wider,
// Price is text, Color is called colour in the database, Size is gone, and
// Weight is new.
type ItemV2 struct {
	ID     uint
	Title  string `gorm:"column:name"`
	Count  int64
	Price  string
	Colour string
	Weight *float64
}

// TableName implements gorm's Tabler.
func (ItemV2) TableName() string { return "items" }

// ItemV3 can't hold what ItemV1 did: its Name is a number.
type ItemV3 struct {
	ID   uint
	Name int64
}

// TableName implements gorm's Tabler.
func (ItemV3) TableName() string { return "items" }

// items opens a database as a version does that knows a model as T. Each
// callback notes what it is told, by entry.
func items[T any](t *testing.T, url testdb.DB, see func(reliable.Change[T]) string, models ...any) (db *gorm.DB, told func() map[int64]string) {
	t.Helper()
	var mu sync.Mutex
	seen := make(map[int64]string)
	r := new(reliable.Registry)
	reliable.Register(r, reliable.Model[T]{Name: "Item"})
	reliable.AfterCommit(r, reliable.Callback[T]{Name: "see", MaxAttempts: 1, Run: func(_ context.Context, c reliable.Change[T]) error {
		text := see(c)
		mu.Lock()
		defer mu.Unlock()
		seen[c.Entry.ID] = text
		return nil
	}})
	return open(t, url, reliable.Config{Registry: r}, models...), func() map[int64]string {
		mu.Lock()
		defer mu.Unlock()
		return seen
	}
}

// writeItems writes as the version before does: entries 1 to 4.
func writeItems(t *testing.T, url testdb.DB) {
	t.Helper()
	before, _ := items(t, url, func(reliable.Change[ItemV1]) string { return "" }, &ItemV1{})
	err := errors.Join(
		before.Create(&ItemV1{1, "nail", 2, 30, "red", "big"}).Error,
		before.Model(&ItemV1{ID: 1}).Updates(map[string]any{"price": 40, "size": "small"}).Error,
		before.Create(&ItemV1{2, "17", 0, 0, "", ""}).Error,
		before.Delete(&ItemV1{ID: 2}).Error,
	)
	if err != nil {
		t.Fatal(err)
	}
}

// Entries of a struct that has changed since are told in the fields of today:
// by column, converted, zero for a column that is new or has another name (62).
func TestChangedStruct(t *testing.T) {
	t.Parallel()
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		url := testdb.New(t, d)
		writeItems(t, url)
		weight := func(i *ItemV2) (w float64) {
			if i != nil && i.Weight != nil {
				w = *i.Weight
			}
			return w
		}
		db, told := items(t, url, func(c reliable.Change[ItemV2]) string {
			text := fmt.Sprint(c.Operation)
			for _, image := range []*ItemV2{c.Before(), c.After()} {
				if image == nil {
					text += " -"
					continue
				}
				text += fmt.Sprintf(" %s/%d/%s/%q/%g", image.Title, image.Count, image.Price, image.Colour, weight(image))
			}
			return fmt.Sprintf("%s price changed: %t", text, c.Changed("Price"))
		}, &ItemV2{}) // AutoMigrate adds what is new; the old columns stay until they are dropped
		if err := reliable.Skip(db).Model(&ItemV2{ID: 1}).Updates(map[string]any{"colour": "blue", "weight": 0.5}).Error; err != nil {
			t.Fatal(err)
		}
		stop := start(t, &worker.Worker{DB: db})
		eventually(t, "all are done", left(t, db))
		stop()
		want := map[int64]string{
			1: `create - nail/2/30/""/0 price changed: true`,
			2: `update nail/2/30/"blue"/0.5 nail/2/40/"blue"/0.5 price changed: true`,
			3: `create - 17/0/0/""/0 price changed: true`,
			4: `destroy 17/0/0/""/0 - price changed: true`,
		}
		if diff := cmp.Diff(want, told()); diff != "" {
			t.Errorf("callbacks were told (-want +got):\n%s", diff)
		}
	})
}

// A stored value that its field does not take any more fails that entry alone,
// with the name of the field; a version that takes it does the work after a
// retry. A name of a field that is gone is an error that lists those there are (62).
func TestValuesThatDoNotFit(t *testing.T) {
	t.Parallel()
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		url := testdb.New(t, d)
		writeItems(t, url)
		db, told := items(t, url, func(c reliable.Change[ItemV3]) string {
			if c.Operation == reliable.OpUpdate {
				return fmt.Sprint(c.Changed("Size"))
			}
			return fmt.Sprint(c.Before(), c.After())
		})
		if err := reliable.Skip(db).Exec("UPDATE items SET name = '3'").Error; err != nil { // as the migration of the column does
			t.Fatal(err)
		}
		stop := start(t, &worker.Worker{DB: db})
		eventually(t, "all are done or dead", func() bool { return count(t, db, "SELECT count(*) FROM outbox_entries WHERE dead_at IS NULL") == 0 })
		stop()
		if diff := cmp.Diff(map[int64]string{3: "<nil> &{2 17}", 4: "&{2 17} <nil>"}, told()); diff != "" {
			t.Errorf("callbacks were told (-want +got):\n%s", diff)
		}
		page, err := outbox.Of(db).List(t.Context(), outbox.Filter{State: outbox.Dead})
		if err != nil {
			t.Fatal(err)
		}
		var texts []string
		for _, e := range page.Entries {
			texts = append(texts, strings.ReplaceAll(fmt.Sprint(e.ID, ": ", e.ErrorMessage), "[]uint8", "string")) // MariaDB's
		}
		want := []string{
			`1: panic: reliable: ItemV3: stored value: field Name: converting driver.Value type string ("nail") to a int64: invalid syntax`,
			`2: panic: reliable: ItemV3.Changed("Size"): no such field or column "Size"; has ID, Name`,
		}
		if diff := cmp.Diff(want, texts); diff != "" {
			t.Errorf("dead entries (-want +got):\n%s", diff)
		}

		again, told := items(t, url, func(c reliable.Change[ItemV1]) string { return c.After().Name + " " + c.After().Size })
		if result, err := outbox.Of(again).Retry(t.Context(), outbox.Filter{State: outbox.Dead}); err != nil || result.Done != 2 {
			t.Errorf("Retry() = %+v, %v, want both", result, err)
		}
		stop = start(t, &worker.Worker{DB: again})
		eventually(t, "both are done", left(t, again))
		stop()
		if diff := cmp.Diff(map[int64]string{1: "nail big", 2: "3 small"}, told()); diff != "" {
			t.Errorf("callbacks were told after the retry (-want +got):\n%s", diff)
		}
	})
}
