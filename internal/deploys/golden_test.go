package deploys_test

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

var record = flag.String("record", "", "write what today's code records to testdata, under this `name`, which must be new")

// A row of outbox_entries, by column.
type row map[string]any

// golden are the columns that are kept of each row.
const golden = "id, kind, owed, context, resource_class, resource_id, event_name, causality_key, lane, changeset, arguments, headers, " +
	"created_at, retry_at, failed_at, attempts, error_class, error_message, callbacks"

// write writes as an application does: entry 1 has failed once.
func write(t *testing.T, url testdb.DB, keys reliable.KeyRing) *gorm.DB {
	t.Helper()
	r := &release{fail: true}
	db := open(t, url, r.config(false, keys), &Parcel{}, &Line{})
	ctx := context.WithValue(t.Context(), tenantKey{}, "ann & söhne")
	db = db.WithContext(ctx)
	if err := db.Create(&Parcel{Label: "flaky"}).Error; err != nil {
		t.Fatal(err)
	}
	stop := start(t, &worker.Worker{DB: db})
	eventually(t, "the first entry has failed", func() bool { return count(t, db, "SELECT count(*) FROM outbox_entries WHERE attempts = 1") == 1 })
	stop()

	sent, zip := then(), "01067"
	full := Parcel{
		Label: "\"a\\b\"\n<ü>\t'%s'", Weight: 2, Total: 1<<63 - 1, Fragile: true, SentAt: &sent, Photo: []byte{0, 0xff, '\''}, Tags: []string{"a", "b"},
		Ship: Address{"Köln", &zip}, IBAN: "DE02", Note: "not recorded",
	}
	line := Line{7, "a/\"b\"", 1}
	err := errors.Join(
		db.Create(&full).Error,
		db.Create(&Parcel{}).Error,
		db.Model(&full).Updates(map[string]any{"total": -5, "weight": 0.1, "sent_at": nil, "ship_city": "Bonn", "iban": "DE03", "note": "nor this"}).Error,
		db.Delete(&full).Error,
		db.Unscoped().Model(&full).Update("deleted_at", nil).Error,
		db.Unscoped().Delete(&Parcel{}, 3).Error,
		db.Create(&line).Error,
		db.Model(&line).Update("count", 2).Error,
		db.Delete(&line).Error,
		db.Transaction(func(tx *gorm.DB) error {
			_, err := reliable.RecordAll(ctx, tx, []reliable.Entry{
				{Context: "billing", EventName: "invoice_sent", CausalityKey: "Köln", Arguments: map[string]any{"n": 1.50, "who": "<ü>"}, Headers: map[string]string{"trace": "00-1-2-03"}},
				{Context: "later", EventName: "nobody_yet", Arguments: json.RawMessage(`[9007199254740993]`)},
			})
			return err
		}),
	)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// stored returns the rows of outbox_entries, with all times that depend on the
// clock set to one.
func stored(t *testing.T, db *gorm.DB) (rows []row) {
	t.Helper()
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	found, err := pool.QueryContext(t.Context(), "SELECT "+golden+" FROM outbox_entries ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = found.Close() }()
	names := strings.Split(golden, ", ")
	for found.Next() {
		values := make([]sql.NullString, len(names))
		targets := make([]any, len(names))
		for i := range values {
			targets[i] = &values[i]
		}
		if err := found.Scan(targets...); err != nil {
			t.Fatal(err)
		}
		r := make(row)
		for i, name := range names {
			switch text := values[i].String; {
			case !values[i].Valid:
				r[name] = nil
			case strings.HasSuffix(name, "_at"):
				r[name] = then().Format("2006-01-02 15:04:05.000000")
			case slices.Contains([]string{"id", "kind", "lane", "attempts"}, name):
				r[name] = json.Number(text)
			case name == "callbacks":
				r[name] = regexp.MustCompile(`"20\d\d-[^"]*"`).ReplaceAllString(text, `"`+then().Format(time.RFC3339Nano)+`"`)
			default:
				r[name] = inUTC(text)
			}
		}
		rows = append(rows, r)
	}
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}

// inUTC returns a changeset whose times are in UTC: a driver delivers them in
// the zone of the process.
func inUTC(changeset string) string {
	return regexp.MustCompile(`\{"t":"[^"@]*"\}`).ReplaceAllStringFunc(changeset, func(member string) string {
		at, err := time.Parse(time.RFC3339Nano, member[6:len(member)-2])
		if err != nil {
			return member
		}
		return `{"t":"` + at.UTC().Format(time.RFC3339Nano) + `"}`
	})
}

// formats returns the names of what is in testdata, in order.
func formats(t *testing.T, d testdb.Dialect) (names []string) {
	t.Helper()
	files, err := filepath.Glob("testdata/*-" + d.String() + ".jsonl")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden rows in testdata for %s, %v", d, err)
	}
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), "-"+d.String()+".jsonl"))
	}
	slices.Sort(names)
	return names
}

// load reads golden rows.
func load(t *testing.T, name string, d testdb.Dialect) (rows []row) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+"-"+d.String()+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		decoder := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		decoder.UseNumber()
		var r row
		if err := decoder.Decode(&r); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, r)
	}
	if len(rows) < 12 || lines.Err() != nil {
		t.Fatalf("%d golden rows, %v, want 12 or more", len(rows), lines.Err())
	}
	return rows
}

// What today's code records is what the newest golden rows are; of encrypted
// ones, as far as that is not another each time. If it has to be something
// else, keep those: record new ones beside them (63).
func TestRecorded(t *testing.T) {
	if *record == "" { // what is recorded is then worked
		t.Parallel()
	}
	for _, kind := range []string{"format", "sealed"} {
		t.Run(kind, func(t *testing.T) {
			testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
				names := slices.DeleteFunc(formats(t, d), func(name string) bool { return sealed(name) != sealed(kind) })
				if *record != "" && sealed(*record) == sealed(kind) {
					save(t, *record, d, stored(t, write(t, testdb.New(t, d), ring(*record))))
					return
				}
				got, want := stored(t, write(t, testdb.New(t, d), ring(kind))), load(t, names[len(names)-1], d)
				for _, rows := range [][]row{got, want} {
					for _, r := range rows {
						for _, column := range []string{"changeset", "arguments", "headers"} {
							if sealed(kind) && r[column] != nil {
								r[column] = "sealed"
							}
						}
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("rows differ from those of %s; if they have to, docs/deploys.md says how to record new ones (-want +got):\n%s", names[len(names)-1], diff)
				}
			})
		})
	}
}

// save writes golden rows to a new file.
func save(t *testing.T, name string, d testdb.Dialect, rows []row) {
	t.Helper()
	file, err := os.OpenFile(filepath.Join("testdata", name+"-"+d.String()+".jsonl"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	lines := json.NewEncoder(file)
	lines.SetEscapeHTML(false)
	for _, r := range rows {
		err = errors.Join(err, lines.Encode(r))
	}
	if err = errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
}

// Rows that any release wrote are worked by today's workers, and callbacks are
// told of them what they were told then (63).
func TestGoldenRows(t *testing.T) {
	t.Parallel()
	for name, processor := range map[string]func() processors.EntriesProcessor{
		"non_ordered": func() processors.EntriesProcessor { return new(processors.NonOrdered) },
		"ordered":     func() processors.EntriesProcessor { return new(processors.OrderedByCausalityKey) },
	} {
		t.Run(name, func(t *testing.T) {
			testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
				for _, format := range formats(t, d) {
					work(t, d, format, processor())
				}
			})
		})
	}
}

// work inserts golden rows, and the rows of models that they tell of, and works.
func work(t *testing.T, d testdb.Dialect, format string, processor processors.EntriesProcessor) {
	t.Helper()
	var r release
	db := open(t, testdb.New(t, d), r.config(true, ring(format)), &Parcel{}, &Line{})
	zip := "01067"
	err := reliable.Skip(db).Create([]Parcel{
		{ID: 1, Label: "flaky"},
		{ID: 2, Label: "\"a\\b\"\n<ü>\t'%s'", Weight: 0.1, Total: -5, Fragile: true, Photo: []byte{0, 0xff, '\''}, Tags: []string{"a", "b"}, Ship: Address{"Bonn", &zip}, IBAN: "DE03", Note: "nor this"},
	}).Error
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range load(t, format, d) {
		names := slices.Sorted(maps.Keys(r))
		var args []any
		for _, name := range names {
			args = append(args, value(r[name]))
		}
		err := db.Exec("INSERT INTO outbox_entries ("+strings.Join(names, ", ")+") VALUES (?"+strings.Repeat(", ?", len(names)-1)+")", args...).Error
		if err != nil {
			t.Fatal(err)
		}
	}
	stop := start(t, &worker.Worker{DB: db, Processor: processor})
	eventually(t, "no entry is left", func() bool { return count(t, db, "SELECT count(*) FROM outbox_entries WHERE dead_at IS NULL") == 0 })
	stop()
	got := strings.Join(r.told(), "\n") + "\n"
	seen := filepath.Join("testdata", format+".seen")
	if _, err := os.Stat(seen); *record == format && os.IsNotExist(err) { // one for all databases
		if err := os.WriteFile(seen, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("of %s callbacks were told otherwise (-want +got):\n%s", format, diff)
	}
}

// value returns a golden value as a parameter.
func value(v any) any {
	if n, ok := v.(json.Number); ok {
		i, err := n.Int64()
		if err != nil {
			panic(err)
		}
		return i
	}
	return v
}
