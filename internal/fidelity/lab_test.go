// Package fidelity_test writes values of every kind of field, and compares what
// callbacks get with what a query reads.
package fidelity_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
	"gorm.io/gorm/schema"
	"pgregory.net/rapid"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Cell is a row with one value of a kind.
type Cell[T any] struct {
	ID int64
	V  T
}

// TableName implements gorm's schema.TablerWithNamer.
func (Cell[T]) TableName(n schema.Namer) string { return n.TableName("cell") }

// seen is what a callback was told of a change.
type seen[M any] struct {
	op            reliable.Operation
	gone          bool
	model         *M
	before, after *M
	changeset     map[string]reliable.Values
}

// lab is a database whose changes of M are recorded.
type lab[M any] struct {
	db     *gorm.DB
	plugin *reliable.Plugin
	seen   []seen[M]
}

// newLab installs the plugin on a connection of its own. Tables of models get
// the prefix.
func newLab[M any](t testing.TB, base testdb.DB, prefix string) *lab[M] {
	t.Helper()
	l := new(lab[M])
	r := new(reliable.Registry)
	reliable.Register(r, reliable.Model[M]{Name: "Cell"})
	reliable.AfterCommit(r, reliable.Callback[M]{Name: "see", WhenGone: reliable.GoneRun, Run: func(_ context.Context, c reliable.Change[M]) error {
		l.seen = append(l.seen, seen[M]{c.Operation, c.Gone, c.Model, c.Before(), c.After(), c.Changeset()})
		return nil
	}})
	l.db = base.Open(t, &gorm.Config{Logger: logger.Discard, NamingStrategy: schema.NamingStrategy{TablePrefix: prefix}})
	l.plugin = reliable.New(reliable.Config{Registry: r, MaxEntryBytes: 8 << 20})
	if err := l.db.Use(l.plugin); err != nil {
		t.Fatal(err)
	}
	return l
}

// migrated makes a database with the outbox's tables.
func migrated(t testing.TB, d testdb.Dialect) testdb.DB {
	t.Helper()
	base := testdb.New(t, d)
	if err := migrations.Up(t.Context(), base.Open(t)); err != nil {
		t.Fatal(err)
	}
	return base
}

// entries takes what is in the outbox.
func entries(t rapid.TB, db *gorm.DB) []*reliable.OutboxEntry {
	t.Helper()
	rows, err := db.Raw("SELECT id, kind, owed, context, resource_class, resource_id, event_name, changeset FROM outbox_entries ORDER BY id").Rows()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var list []*reliable.OutboxEntry
	for rows.Next() {
		e := new(reliable.OutboxEntry)
		var owed, changeset string
		if err := rows.Scan(&e.ID, &e.Kind, &owed, &e.Context, &e.ResourceClass, &e.ResourceID, &e.EventName, &changeset); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(owed), &e.Owed); err != nil {
			t.Fatal(err)
		}
		e.Changeset = json.RawMessage(changeset)
		list = append(list, e)
	}
	if err := errors.Join(rows.Err(), rows.Close(), db.Exec("DELETE FROM outbox_entries").Error); err != nil {
		t.Fatal(err)
	}
	return list
}

// replay runs what the entries owe, and returns what was told.
func (l *lab[M]) replay(t rapid.TB, entries []*reliable.OutboxEntry) []seen[M] {
	t.Helper()
	l.seen = nil
	batch := l.plugin.NewBatch(l.db, entries, 1, time.Now())
	for _, e := range entries {
		if out := process(context.Background(), batch, e); out.State != reliable.StateDone {
			t.Fatalf("%s %s: %s", e.EventName, e.Changeset, out.ErrorMessage)
		}
	}
	return l.seen
}

// read returns the row as a query sees it, nil if it is gone.
func (l *lab[M]) read(t rapid.TB, key *M) *M {
	t.Helper()
	row := new(M)
	err := l.db.Unscoped().Where(key, l.keys(t)...).First(row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return nil
	}
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return row
}

// keys returns the columns of the primary key.
func (l *lab[M]) keys(t rapid.TB) []any {
	t.Helper()
	stmt := &gorm.Statement{DB: l.db}
	if err := stmt.Parse(new(M)); err != nil {
		t.Fatal(err)
	}
	var names []any
	for _, name := range stmt.Schema.PrimaryFieldDBNames {
		names = append(names, name)
	}
	return names
}

// roundTrip creates each of the rows, updates it to the next, and deletes it.
func (l *lab[M]) roundTrip(t rapid.TB, rows []M) {
	t.Helper()
	for i := range rows {
		row, next := rows[i], rows[(i+1)%len(rows)]
		var all []*reliable.OutboxEntry
		step := func(name string, write func() error) (before, after *M) {
			t.Helper()
			before = l.read(t, &row)
			if err := write(); err != nil {
				t.Fatalf("%s %+v: %v", name, row, err)
			}
			if after = l.read(t, &row); name == "delete" { // also if the row is still there: it is a destroy
				after = nil
			}
			got := entries(t, l.db)
			if len(got) == 0 && name == "update" && l.equal(before, after) {
				return before, after
			}
			all = append(all, got...)
			l.check(t, name, l.replay(t, got), before, after, true)
			return before, after
		}
		step("create", func() error { return l.db.Create(&row).Error })
		a, b := step("update", func() error {
			keep(&next, &row)
			row = next
			return l.db.Save(&row).Error
		})
		step("delete", func() error { return l.db.Delete(&row).Error })
		for _, s := range l.replay(t, all) { // the rows are gone: the entries say all
			switch s.op {
			case reliable.OpCreate:
				l.check(t, "create, gone", []seen[M]{s}, nil, a, true)
			case reliable.OpUpdate:
				l.check(t, "update, gone", []seen[M]{s}, a, b, false)
			default:
			}
		}
	}
}

// keep gives next the key of row, if it is generated.
func keep[M any](next, row *M) {
	to, from := reflect.ValueOf(next).Elem().FieldByName("ID"), reflect.ValueOf(row).Elem().FieldByName("ID")
	if to.IsValid() {
		to.Set(from)
	}
}

// check compares what a callback was told with what the database has; unless
// whole, only the columns that changed.
func (l *lab[M]) check(t rapid.TB, name string, told []seen[M], before, after *M, whole bool) {
	t.Helper()
	if len(told) != 1 {
		t.Fatalf("%s: %d changes, want 1", name, len(told))
	}
	s := told[0]
	differ := func(what string, want, got any) {
		t.Helper()
		if diff := cmp.Diff(want, got, l.exact()...); diff != "" {
			t.Errorf("%s: %s: -query +callback\n%s", name, what, short(diff))
		}
	}
	if whole {
		differ("Before()", before, s.before)
		differ("After()", after, s.after)
	}
	stmt := &gorm.Statement{DB: l.db}
	if err := stmt.Parse(new(M)); err != nil {
		t.Fatal(err)
	}
	value := func(column string, row *M) any {
		if row == nil {
			return nil
		}
		return stmt.Schema.FieldsByDBName[column].ReflectValueOf(context.Background(), reflect.ValueOf(row).Elem()).Interface()
	}
	for column, values := range s.changeset {
		differ("Changeset()["+column+"].Old", value(column, before), values.Old)
		differ("Changeset()["+column+"].New", value(column, after), values.New)
		differ("Before()."+column, value(column, before), value(column, s.before))
		differ("After()."+column, value(column, after), value(column, s.after))
	}
}

func short(text string) string {
	if len(text) > 2000 {
		return text[:2000] + "..."
	}
	return strings.TrimSpace(text)
}

func (l *lab[M]) equal(a, b any) bool { return cmp.Equal(a, b, l.exact()...) }

// exact compares everything, unexported fields too: times by instant, floats
// by their bits, but all NaN alike. SQLite's driver reads an empty blob as a nil
// []byte; callbacks get an empty one.
func (l *lab[M]) exact() []cmp.Option {
	sqlite := l.db.Name() == "sqlite"
	return []cmp.Option{
		cmp.Comparer(func(a, b []byte) bool { return bytes.Equal(a, b) && (sqlite || (a == nil) == (b == nil)) }),
		cmp.Exporter(func(reflect.Type) bool { return true }),
		cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) }),
		cmp.Comparer(func(a, b float64) bool {
			return a == b && math.Signbit(a) == math.Signbit(b) || math.IsNaN(a) && math.IsNaN(b)
		}),
		cmp.Comparer(func(a, b float32) bool {
			return a == b && math.Signbit(float64(a)) == math.Signbit(float64(b)) || math.IsNaN(float64(a)) && math.IsNaN(float64(b))
		}),
	}
}

// process runs what e owes.
func process(ctx context.Context, batch *reliable.Batch, e *reliable.OutboxEntry) (out reliable.Outcome) {
	batch.Process(ctx, e, func(o reliable.Outcome) { out = o })
	return out
}
