package reliable_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/glebarez/sqlite"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

type order struct {
	ID     uint
	Status string
	Total  int64
}

type invoice struct {
	ID       uint
	TenantID string
}

func (i *invoice) ReliableAfterCreateCommit(context.Context, reliable.Change[invoice]) error {
	return nil
}

var _ reliable.AfterCreateCommitter[invoice] = (*invoice)(nil)

type wrongMethod struct{ ID uint }

func (*wrongMethod) ReliableAfterCommit(context.Context) error { return nil }

type narrow struct{ ID uint }

type keyless struct{ Name string }

func nothing[T any](context.Context, reliable.Change[T]) error { return nil }

// memory opens an SQLite database that holds nothing.
func memory(t *testing.T) *gorm.DB {
	t.Helper()
	db, err := gorm.Open(sqlite.Open(":memory:"))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close() })
	return db
}

func TestUseReportsEveryMistakeAtOnce(t *testing.T) {
	r := new(reliable.Registry)
	reliable.AfterCommit(r, reliable.Callback[order]{Name: "a"})
	reliable.AfterCommit(r, reliable.Callback[order]{Run: nothing[order]})
	reliable.AfterCommit(r, reliable.Callback[order]{Name: "b", Run: nothing[order], WhenChanged: []string{"Totl"}})
	reliable.AfterCommit(r, reliable.Callback[order]{Name: "b", Run: nothing[order], MaxAttempts: -1, Timeout: -1})
	reliable.AfterCommit(r, reliable.Callback[order]{Name: "c", Run: nothing[order], On: 64})
	inTx := func(context.Context, *gorm.DB, reliable.Change[order]) error { return nil }
	reliable.AfterCommit(r, reliable.Callback[order]{Name: "both", Run: nothing[order], RunTx: inTx})
	reliable.AfterCommit(r, reliable.Callback[order]{Name: "slow", RunTx: inTx, Timeout: time.Minute})
	reliable.AfterCommit(r, reliable.Callback[*order]{Name: "p", Run: nothing[*order]})
	reliable.AfterCommit(r, reliable.Callback[keyless]{Name: "k", Run: nothing[keyless]})
	reliable.Register(r, reliable.Model[wrongMethod]{})
	reliable.AfterCreateCommit(r, "n", nothing[narrow])
	reliable.Register(r, reliable.Model[narrow]{On: reliable.OpCreate | reliable.OpDestroy})
	r.Handle("", "x", nil)
	r.HandleBatch("search", "", -1, nil)
	reliable.HandleEvent[int](r, "search", "", "typed", nil)

	err := memory(t).Use(reliable.New(reliable.Config{
		Registry: r, Tables: reliable.Tables{Schema: "a;b", Prefix: "1"}, MaxRows: -1, MaxEntryBytes: -1,
	}))
	if err == nil {
		t.Fatal("Use() = nil, want the mistakes")
	}
	for _, want := range []string{
		`callback "a": Run is required`, `callback without Name`, `no such field or column "Totl"; has ID, Status, Total`,
		`the name or alias "b" is taken`, `callback "both": Run is required, or RunTx, but not both: 2 are set`, `callback "slow": Timeout is 1m0s: RunTx may take at most 1s`, `MaxAttempts is -1`, `Timeout is -1ns`, `On is 64`, `use reliable.Callback[order]`,
		`no primary key`, `ReliableAfterCommit: not a callback`, `Handle("", "x", <nil>)`, `HandleBatch("search", "", -1, <nil>): context, name and processor`, `most is -1: want 1 or more entries in a call, or 0 for 100`,
		`HandleEvent("search", "", "typed"): event and function are required`, `narrow: Register's On names destroy, for which nothing is owed`, `nothing is owed for it`,
		`tables.Schema "a;b"`, `tables.Prefix "1"`, `Config.MaxRows is -1`, `Config.MaxEntryBytes is -1`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Use() = %v\nwant it to contain %q", err, want)
		}
	}
}

func TestTwoTypesWithOneName(t *testing.T) {
	r := new(reliable.Registry)
	reliable.AfterCreateCommit(r, "a", nothing[order])
	func() {
		type order struct{ ID uint }
		reliable.AfterCreateCommit(r, "a", nothing[order])
	}()
	err := memory(t).Use(reliable.New(reliable.Config{Registry: r}))
	if err == nil || !strings.Contains(err.Error(), `are both called "order" in entries`) {
		t.Errorf("Use() = %v, want the name clash", err)
	}
}

func TestRegistrationAfterUsePanics(t *testing.T) {
	r := new(reliable.Registry)
	reliable.AfterCreateCommit(r, "a", nothing[order])
	if err := memory(t).Use(reliable.New(reliable.Config{Registry: r})); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if v := recover(); v == nil || !strings.Contains(v.(string), "registration after db.Use") {
			t.Errorf("recover() = %v, want a panic that says why", v)
		}
	}()
	reliable.AfterCreateCommit(r, "b", nothing[order])
}

func TestOneRegistryServesSeveralDatabases(t *testing.T) {
	r := new(reliable.Registry)
	reliable.Register(r, reliable.Model[invoice]{})
	for range 2 {
		if err := memory(t).Use(reliable.New(reliable.Config{Registry: r})); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFromSaysHowToInstall(t *testing.T) {
	if _, err := reliable.From(memory(t)); err == nil || !strings.Contains(err.Error(), "call db.Use(reliable.New(") {
		t.Errorf("From() = %v, want the way out", err)
	}
	if _, err := reliable.From(nil); err == nil {
		t.Error("From(nil) = nil, want an error")
	}
}

func TestCovers(t *testing.T) {
	r := new(reliable.Registry)
	reliable.AfterCommit(r, reliable.Callback[order]{Name: "receipt", Aliases: []string{"mail"}, Run: nothing[order]})
	reliable.Register(r, reliable.Model[invoice]{Name: "Bill", Aliases: []string{"Invoice"}})
	r.Handle("service_object", "audit", reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error { return nil }))
	if err := memory(t).Use(reliable.New(reliable.Config{Registry: r})); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		entry reliable.OutboxEntry
		want  bool
	}{
		{"known callback", reliable.OutboxEntry{Context: "gorm", ResourceClass: "order", EventName: "order_created", Owed: []string{"receipt"}}, true},
		{"former name", reliable.OutboxEntry{Context: "gorm", ResourceClass: "order", EventName: "order_created", Owed: []string{"mail"}}, true},
		{"former class", reliable.OutboxEntry{Context: "gorm", ResourceClass: "Invoice", EventName: "bill_created", Owed: []string{"ReliableAfterCreateCommit"}}, true},
		{"one callback unknown", reliable.OutboxEntry{Context: "gorm", ResourceClass: "order", EventName: "order_created", Owed: []string{"receipt", "index"}}, false},
		{"unknown model", reliable.OutboxEntry{Context: "gorm", ResourceClass: "customer", EventName: "customer_created", Owed: []string{"receipt"}}, false},
		{"unknown event", reliable.OutboxEntry{Context: "gorm", ResourceClass: "order", EventName: "order_touched", Owed: []string{"receipt"}}, false},
		{"processor by name", reliable.OutboxEntry{Context: "service_object", EventName: "x", Owed: []string{"audit"}}, true},
		{"processor by context", reliable.OutboxEntry{Context: "service_object", EventName: "x"}, true},
		{"unknown context", reliable.OutboxEntry{Context: "relay", EventName: "x"}, false},
		{"model without owed", reliable.OutboxEntry{Context: "gorm", ResourceClass: "order", EventName: "order_created"}, false},
	} {
		if got := r.Covers(&tt.entry); got != tt.want {
			t.Errorf("%s: Covers() = %t, want %t", tt.name, got, tt.want)
		}
	}
}

func TestEntryKindIsFrozen(t *testing.T) {
	if got, want := reliable.EntryKind("gorm", "Order", "order_created", []string{"receipt", "index"}), int64(goldenKind); got != want {
		t.Errorf("EntryKind() = %d, want %d: entries on their way carry the old hash", got, want)
	}
	if reliable.EntryKind("a", "bc", "d", nil) == reliable.EntryKind("ab", "c", "d", nil) {
		t.Error("EntryKind() is the same for parts cut differently")
	}
	if got, want := reliable.LaneOf("tenant-7"), int64(goldenLane); got != want {
		t.Errorf("LaneOf() = %d, want %d: lanes are stored", got, want)
	}
}

// What the first release computed.
const (
	goldenKind = -3780214397017176767
	goldenLane = 29
)
