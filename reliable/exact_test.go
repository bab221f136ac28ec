package reliable_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Cargo is what an application may pass as arguments.
type Cargo struct {
	Texts  []string
	Bytes  []byte
	Least  int64
	Most   uint64
	Small  float64
	At     time.Time
	Raw    json.RawMessage
	Absent *string
	Nested map[string]Cargo `json:",omitempty"`
}

// texts are those that JSON, SQL or a driver could change.
func texts() []string {
	return []string{
		"", "\x00", "a\x00b", "\ufffd", `\ufffd`, `\\ufffd`, `"`, `\`, "'", "\u2028\u2029", "<script>&amp;", "🛒é\u0301", "\u202eabc", "\r\n\t\v\x7f",
		"null", "{{.}}", "%s%n", "Ж" + strings.Repeat("ü", 300), "\ufeff", "?", "$1", ":name", `{"reliable:sealed":1}`,
	}
}

// What is recorded as arguments and headers comes back as it was, whatever is in
// it (70).
func TestArgumentsComeBack(t *testing.T) {
	at := time.Date(2026, 3, 29, 2, 30, 0, 123456789, time.FixedZone("", 5*3600+1800))
	want := Cargo{Texts: texts(), Bytes: []byte("a\x00\xff"), Least: math.MinInt64, Most: math.MaxUint64, Small: 5e-324, At: at, Raw: json.RawMessage(`{"n":1.10,"x":"\ufffd"}`)}
	want.Nested = map[string]Cargo{"ключ \x00": {Texts: []string{"a"}, Most: 1<<53 + 1, At: at, Raw: json.RawMessage("null")}}
	headers := make(map[string]string)
	for i, text := range texts() {
		headers[fmt.Sprint(text, i)] = text
	}
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		var got Cargo
		r := new(reliable.Registry)
		reliable.HandleEvent(r, "billing", "sent", "ledger", func(_ context.Context, e *reliable.OutboxEntry, arguments Cargo) error {
			got = arguments
			var read map[string]string
			if err := json.Unmarshal(e.Headers, &read); err != nil {
				return err
			}
			if diff := cmp.Diff(headers, read); diff != "" {
				return errors.New(diff)
			}
			return nil
		})
		db := testdb.New(t, d).Open(t)
		plugin := reliable.New(reliable.Config{Registry: r})
		if err := errors.Join(db.Use(plugin), migrations.Up(t.Context(), db)); err != nil {
			t.Fatal(err)
		}
		err := db.Transaction(func(tx *gorm.DB) error {
			_, err := reliable.Record(t.Context(), tx, reliable.Entry{Context: "billing", EventName: "sent", Arguments: want, Headers: headers})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		var stored struct{ Arguments, Headers string }
		if err := db.Raw("SELECT arguments, headers FROM outbox_entries").Scan(&stored).Error; err != nil {
			t.Fatal(err)
		}
		e := &reliable.OutboxEntry{Context: "billing", EventName: "sent", Owed: []string{"ledger"}, Arguments: json.RawMessage(stored.Arguments), Headers: json.RawMessage(stored.Headers)}
		if out := process(t.Context(), plugin.NewBatch(db, []*reliable.OutboxEntry{e}, 1, time.Now()), e); out.State != reliable.StateDone {
			t.Fatalf("headers, or what failed (-want +got): %s", out.ErrorMessage)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("arguments (-want +got):\n%s", diff)
		}
	})
}

// What JSON can't hold, or would change, is an error of the writer (70).
func TestArgumentsThatDoNotComeBack(t *testing.T) {
	r := new(reliable.Registry)
	r.Handle("billing", "ledger", reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error { return nil }))
	reliable.AfterCommit(r, reliable.Callback[Plain]{Name: "index", Run: nothing[Plain]})
	tenant := "a"
	db := testdb.New(t, testdb.SQLite).Open(t)
	config := reliable.Config{Registry: r, Headers: func(context.Context) map[string]string { return map[string]string{"tenant": tenant} }}
	if err := errors.Join(db.AutoMigrate(&Plain{}), db.Use(reliable.New(config)), migrations.Up(t.Context(), db)); err != nil {
		t.Fatal(err)
	}
	record := func(e reliable.Entry) error {
		e.Context = "billing"
		return db.Transaction(func(tx *gorm.DB) error {
			_, err := reliable.Record(t.Context(), tx, e)
			return err
		})
	}
	for want, e := range map[string]reliable.Entry{
		"Arguments: json: unsupported value: NaN":  {EventName: "a", Arguments: math.NaN()},
		"Arguments: json: unsupported value: +Inf": {EventName: "a", Arguments: map[string]float64{"x": math.Inf(1)}},
		"Arguments: json: unsupported type: chan":  {EventName: "a", Arguments: make(chan int)},
		"Arguments: json: error calling":           {EventName: "a", Arguments: json.RawMessage("{")},
		"make it a []byte":                         {EventName: "a", Arguments: Cargo{Texts: []string{"ok", `\ufffd`, "a\xc3"}}},
		"Arguments: hold text that is not":         {EventName: "a", Arguments: map[string]int{"\xff": 1}},
		"a []byte, or encode it":                   {EventName: "a", Arguments: []any{nil, &Cargo{Nested: map[string]Cargo{"a": {Texts: []string{"\xff"}}}}}},
		"not valid UTF-8, which JSON would change": {EventName: "a", Arguments: Cargo{Raw: json.RawMessage("\"\xff\"")}},
		"Headers: hold text that is not":           {EventName: "a", Headers: map[string]string{"x": "\xff"}},
		"EventName is empty":                       {Arguments: "\xff"},
		`"a\x00": not valid UTF-8, or holds NUL`:   {EventName: "a\x00"},
		"CausalityKey: not valid UTF-8":            {EventName: "a", CausalityKey: "\xff"},
	} {
		if err := record(e); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Record() = %v, want %q", err, want)
		}
	}
	tenant = "\xff"
	for what, err := range map[string]error{"create of Plain": db.Create(&Plain{Qty: 1}).Error, "record billing.a": record(reliable.Entry{EventName: "a"})} {
		if err == nil || !strings.Contains(err.Error(), what+": Config.Headers: hold text that is not valid UTF-8") {
			t.Errorf("%v, want %s, and why", err, what)
		}
	}
	var n int64
	if err := db.Raw("SELECT (SELECT count(*) FROM outbox_entries) + (SELECT count(*) FROM plains)").Scan(&n).Error; err != nil || n != 0 {
		t.Errorf("%d rows were written (%v), want none", n, err)
	}
}
