package outbox_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/outbox"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Order is the model of these tests.
type Order struct {
	ID    uint
	Total int
}

func done(context.Context, reliable.Change[Order]) error { return nil }

// open returns a database with the plugin and all tables, in which the plugin
// records every model.
func open(t *testing.T, d testdb.Dialect) *gorm.DB {
	t.Helper()
	return openURL(t, testdb.New(t, d))
}

// openURL is open for a database that may have been opened before, as another
// process does.
func openURL(t *testing.T, url testdb.DB) *gorm.DB {
	t.Helper()
	r := new(reliable.Registry)
	reliable.Register(r, reliable.Model[Order]{Aliases: []string{"Purchase"}})
	reliable.AfterCommit(r, reliable.Callback[Order]{Name: "receipt", Aliases: []string{"mail"}, Run: done})
	r.Handle("billing", "ledger", reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error { return nil }))
	db := url.Open(t)
	if err := errors.Join(db.Use(reliable.New(reliable.Config{Registry: r, AllModels: true})), migrations.Up(t.Context(), db)); err != nil {
		t.Fatal(err)
	}
	return db
}

func TestPauses(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		db := open(t, d)
		o := outbox.Of(db)
		receipt := outbox.Selector{Model: "Order", Callback: "receipt"}
		began := time.Now()
		for _, err := range []error{
			o.Pause(t.Context(), outbox.Selector{Context: "billing"}, "migration"),
			o.Pause(t.Context(), receipt, "mail is down"),
			o.Pause(t.Context(), receipt, "mail is still down"),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		paused, err := o.Paused(t.Context())
		if err != nil || len(paused) != 2 {
			t.Fatalf("Paused() = %v, %v, want two", paused, err)
		}
		if p := paused[1]; p.String() != "model Order, callback receipt" || p.Reason != "mail is still down" || p.At.Sub(began).Abs() > time.Minute || paused[0].String() != "context billing" {
			t.Errorf("Paused() = %+v, want billing, then the receipt with its last reason and its time in UTC", paused)
		}
		if err := o.Resume(t.Context(), outbox.Selector{Model: "Order"}); !errors.Is(err, outbox.ErrNotPaused) || !strings.Contains(err.Error(), "context billing; model Order, callback receipt") {
			t.Errorf("Resume() of another = %v, want ErrNotPaused and what is paused", err)
		}
		if err := o.Resume(t.Context(), receipt); err != nil {
			t.Error(err)
		}
		if paused, err = o.Paused(t.Context()); err != nil || len(paused) != 1 {
			t.Errorf("Paused() = %v, %v after Resume, want one", paused, err)
		}
		var entries int64
		if err := db.Table("outbox_entries").Count(&entries).Error; err != nil || entries != 0 {
			t.Errorf("%d entries, %v; pauses are not recorded", entries, err)
		}
	})
}

// A name that is not known is an error that lists those that are.
func TestUnknownNames(t *testing.T) {
	o := outbox.Of(open(t, testdb.SQLite))
	tests := []struct {
		selector outbox.Selector
		want     string // in the error; empty for none
	}{
		{outbox.Selector{}, "the selector is empty"},
		{outbox.Selector{Model: "Ordr"}, `no model is called "Ordr": known are Order, Purchase`},
		{outbox.Selector{Context: "biling"}, `no context is called "biling": known are billing, gorm`},
		{outbox.Selector{Callback: "receit"}, `no callback is called "receit": known are ledger, mail, receipt`},
		{outbox.Selector{Model: "Order", Callback: "ledger"}, `no callback is called "ledger": known are mail, receipt`},
		{outbox.Selector{Model: "Order", Event: "order_made"}, `no event is called "order_made": known are order_created, order_destroyed, order_updated`},
		{outbox.Selector{Callback: strings.Repeat("x", 256), Force: true}, "takes at most 255"},
		{outbox.Selector{Callback: "receit", Force: true}, ""},
		{outbox.Selector{Context: "billing", Event: "invoice_sent", Callback: "ledger"}, ""},
		{outbox.Selector{Model: "Purchase", Event: "order_updated", Callback: "mail"}, ""},
		{outbox.Selector{Context: reliable.ContextModel}, ""},
	}
	for _, test := range tests {
		err := o.Pause(t.Context(), test.selector, "")
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("Pause(%+v) = %v, want %q", test.selector, err, test.want)
		}
	}
}

func TestWithoutPlugin(t *testing.T) {
	o := outbox.Of(testdb.New(t, testdb.SQLite).Open(t))
	if err := o.Pause(t.Context(), outbox.Selector{Model: "Order"}, ""); err == nil || !strings.Contains(err.Error(), "db.Use") {
		t.Errorf("Pause() = %v, want the way out", err)
	}
	if _, err := o.Paused(t.Context()); err == nil {
		t.Error("Paused() = nil, want an error")
	}
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
