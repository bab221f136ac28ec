package outbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/outbox"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// fixture has one entry of each state, and three that are due.
type fixture struct {
	due                                                  []int64
	waiting, held, dead, skipped, parked, behind, orphan int64
}

// fill makes them.
func fill(t *testing.T, db *gorm.DB) (f fixture) {
	t.Helper()
	f.due = record(t, db, "", "invoice_sent", "invoice_sent", "invoice_paid")
	f.waiting = record(t, db, "", "invoice_sent")[0]
	exec(t, db, "UPDATE outbox_entries SET retry_at = '2099-01-01 00:00:00', failed_at = '2026-01-01 00:00:00', attempts = 2, error_class = 'timeout' WHERE id = ?", f.waiting)
	f.held = record(t, db, "", "invoice_sent")[0]
	hold(t, db, "worker-1", f.held)
	f.dead = record(t, db, "", "invoice_sent")[0]
	f.skipped = record(t, db, "bob", "invoice_sent")[0]
	ann := record(t, db, "ann", "invoice_sent", "invoice_sent")
	f.parked, f.behind = ann[0], ann[1]
	die(t, db, "ann", f.parked, "05")
	for _, id := range []int64{f.dead, f.skipped} {
		exec(t, db, "UPDATE outbox_entries SET lane = NULL, dead_at = '2026-01-06 10:00:00', attempts = 25, error_class = 'refused', error_message = ?, callbacks = ? WHERE id = ?", strings.Repeat("é", 400), states, id)
	}
	f.orphan = record(t, db, "", "invoice_sent")[0]
	exec(t, db, `UPDATE outbox_entries SET owed = '["ledger","tax"]' WHERE id = ?`, f.orphan)
	exec(t, db, "UPDATE outbox_entries SET created_at = '2020-01-01 00:00:00' WHERE id = ?", f.due[0])
	return f
}

// hold does to an entry what a worker does that claims it.
func hold(t *testing.T, db *gorm.DB, worker string, id int64) {
	t.Helper()
	list := fmt.Sprintf("[%d]", id)
	if db.Name() == "postgres" {
		list = fmt.Sprintf("{%d}", id)
	}
	exec(t, db, "INSERT INTO outbox_claims (worker, ids, lo, hi) VALUES (?, ?, ?, ?)", worker, list, id, id)
}

func idsOf(entries []outbox.Entry) []int64 {
	ids := make([]int64, len(entries))
	for i, e := range entries {
		ids[i] = e.ID
	}
	return ids
}

func TestList(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		db := open(t, d)
		f := fill(t, db)
		o := outbox.Of(db)
		all := append(slices.Clone(f.due), f.waiting, f.held, f.dead, f.skipped, f.parked, f.behind, f.orphan)
		tests := []struct {
			filter outbox.Filter
			want   []int64
		}{
			{outbox.Filter{}, all},
			{outbox.Filter{State: outbox.Pending}, append(slices.Clone(f.due), f.waiting, f.held, f.behind, f.orphan)},
			{outbox.Filter{State: outbox.Eligible}, append(slices.Clone(f.due), f.behind, f.orphan)},
			{outbox.Filter{State: outbox.Waiting}, []int64{f.waiting}},
			{outbox.Filter{State: outbox.Held}, []int64{f.held}},
			{outbox.Filter{State: outbox.Dead}, []int64{f.dead, f.skipped, f.parked}},
			{outbox.Filter{State: outbox.Dead, After: f.dead}, []int64{f.skipped, f.parked}},
			{outbox.Filter{State: outbox.Parked}, []int64{f.parked}},
			{outbox.Filter{State: outbox.Orphan}, []int64{f.orphan}},
			{outbox.Filter{Key: "ann"}, []int64{f.parked, f.behind}},
			{outbox.Filter{Key: "bob"}, nil},
			{outbox.Filter{Key: "bob", State: outbox.Dead}, []int64{f.skipped}},
			{outbox.Filter{Event: "invoice_paid"}, f.due[2:]},
			{outbox.Filter{Context: "gorm"}, nil},
			{outbox.Filter{Context: "billing", ErrorClass: "refused"}, []int64{f.dead, f.skipped}},
			{outbox.Filter{Callback: "tax"}, []int64{f.orphan}},
			{outbox.Filter{Callback: "ta"}, nil},
			{outbox.Filter{Model: "Order"}, nil},
			{outbox.Filter{ModelID: "7"}, nil},
			{outbox.Filter{OlderThan: time.Hour}, f.due[:1]},
			{outbox.Filter{YoungerThan: time.Hour, Event: "invoice_paid"}, f.due[2:]},
			{outbox.Filter{YoungerThan: time.Hour, IDs: f.due}, f.due[1:]},
			{outbox.Filter{IDs: []int64{f.parked, f.due[0], f.due[0], 1 << 40}}, []int64{f.due[0], f.parked}},
			{outbox.Filter{IDs: []int64{f.parked, f.due[0]}, State: outbox.Dead}, []int64{f.parked}},
		}
		for _, test := range tests {
			page, err := o.List(t.Context(), test.filter)
			if got := idsOf(page.Entries); err != nil || !slices.Equal(got, test.want) || page.Next != 0 || page.Bounded {
				t.Errorf("List(%+v) = %v, %+v, %v, want %v and no more", test.filter, got, page, err, test.want)
			}
			if n, err := o.Count(t.Context(), test.filter); err != nil || n.N != int64(len(test.want)) || n.AtLeast {
				t.Errorf("Count(%+v) = %s, %v, want %d", test.filter, n, err, len(test.want))
			}
			var paged []int64
			for filter := test.filter; ; {
				filter.Limit = 2
				page, err := o.List(t.Context(), filter)
				if err != nil || len(page.Entries) > 2 || page.Next != 0 && len(page.Entries) < 2 {
					t.Fatalf("List(%+v) = %+v, %v, want pages of two", filter, page, err)
				}
				paged = append(paged, idsOf(page.Entries)...)
				if filter.After = page.Next; page.Next == 0 {
					break
				}
			}
			if !slices.Equal(paged, test.want) {
				t.Errorf("pages of List(%+v) = %v, want %v", test.filter, paged, test.want)
			}
		}
		page, err := o.List(t.Context(), outbox.Filter{IDs: all})
		if err != nil || len(page.Entries) != len(all) {
			t.Fatal(page, err)
		}
		want := map[int64]outbox.State{f.waiting: outbox.Waiting, f.held: outbox.Held, f.dead: outbox.Dead, f.skipped: outbox.Dead, f.parked: outbox.Parked}
		for _, e := range page.Entries {
			state, ok := want[e.ID]
			if !ok {
				state = outbox.Eligible
			}
			if e.State != state || e.Orphan != (e.ID == f.orphan) || (e.Worker != "") != (e.ID == f.held) || len([]rune(e.ErrorMessage)) > 300 {
				t.Errorf("entry %+v, want it %s", e, state)
			}
		}
	})
}

func TestFilterMistakes(t *testing.T) {
	o := outbox.Of(open(t, testdb.SQLite))
	_, err := o.List(t.Context(), outbox.Filter{State: "ded", Limit: -1, After: -1, OlderThan: -1, IDs: make([]int64, outbox.MaxIDs+1)})
	for _, want := range []string{`State is "ded": want one of ["pending"`, "Limit is -1", "After is -1", "OlderThan is -1ns", "IDs has 10001"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("List() = %v, want %q in it", err, want)
		}
	}
	if _, err := o.Count(t.Context(), outbox.Filter{OlderThan: time.Hour, YoungerThan: time.Hour}); err == nil || !strings.Contains(err.Error(), "no entry is older") {
		t.Errorf("Count() = %v, want that there can be none", err)
	}
	for _, f := range []func(context.Context, outbox.Filter) (outbox.Result, error){o.Retry, o.Discard} {
		if _, err := f(t.Context(), outbox.Filter{Limit: 5}); !errors.Is(err, outbox.ErrUnselective) {
			t.Errorf("with an empty filter: %v, want ErrUnselective", err)
		}
		if _, err := f(t.Context(), outbox.Filter{State: outbox.Pending}); err == nil || !strings.Contains(err.Error(), `this takes ["dead" "parked"`) {
			t.Errorf("of what is pending: %v, want what it takes", err)
		}
	}
}

// Payment is a model with something that nobody is to read.
type Payment struct {
	ID   uint
	Card string `reliable:"sensitive"`
	City string
}

func TestGet(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		r := new(reliable.Registry)
		reliable.AfterCommit(r, reliable.Callback[Payment]{Name: "receipt", Run: func(context.Context, reliable.Change[Payment]) error { return nil }})
		db := testdb.New(t, d).Open(t)
		if err := errors.Join(db.AutoMigrate(&Payment{}), db.Use(reliable.New(reliable.Config{Registry: r})), migrations.Up(t.Context(), db), db.Create(&Payment{Card: "4111", City: "Oslo"}).Error); err != nil {
			t.Fatal(err)
		}
		exec(t, db, "INSERT INTO outbox_entries (context, event_name, arguments, headers, callbacks, error_message) VALUES ('billing', 'sent', ?, ?, ?, ?)",
			`{"card":"4111"}`, `{"tenant":"acme"}`, states, strings.Repeat("x", 400))
		o := outbox.Of(db)
		page, err := o.List(t.Context(), outbox.Filter{})
		if err != nil || len(page.Entries) != 2 {
			t.Fatal(page, err)
		}
		payment, err := o.Get(t.Context(), page.Entries[0].ID)
		if err != nil || payment.Model != "Payment" || payment.ModelID != "1" || payment.Event != "payment_created" || !slices.Equal(payment.Owed, []string{"receipt"}) {
			t.Fatalf("Get() = %+v, %v, want the payment", payment, err)
		}
		sent, err := o.Get(t.Context(), page.Entries[1].ID)
		if err != nil || string(sent.Arguments) != `"[masked, 15 bytes]"` || string(sent.Headers) != `"[masked, 17 bytes]"` || len(sent.ErrorMessage) != 400 {
			t.Fatalf("Get() = %+v, %v, want masked arguments and the whole error", sent, err)
		}
		if len(sent.Callbacks) != 3 || sent.Callbacks[0] != (outbox.CallbackState{Name: "ledger", State: "dead", Attempts: 10, ErrorClass: "timeout", ErrorMessage: "took 1m"}) {
			t.Errorf("Callbacks = %+v, want three by name", sent.Callbacks)
		}
		text, err := json.Marshal([]any{page, payment, sent})
		if err != nil || strings.Contains(string(text), "4111") || !strings.Contains(string(text), "Oslo") || !strings.Contains(string(text), "[masked]") {
			t.Errorf("%s, %v, want the city and no card", text, err)
		}
		shown, err := o.Reveal(t.Context(), sent.ID)
		if err != nil || string(shown.Arguments) != `{"card":"4111"}` || string(shown.Headers) != `{"tenant":"acme"}` {
			t.Errorf("Reveal() = %+v, %v, want the arguments", shown, err)
		}
		if shown, err = o.Reveal(t.Context(), payment.ID); err != nil || strings.Contains(string(shown.Changeset), "4111") {
			t.Errorf("Reveal() = %+v, %v, want no card in it", shown, err)
		}
		if _, err := o.Get(t.Context(), 1<<40); !errors.Is(err, outbox.ErrNotFound) {
			t.Errorf("Get() of none = %v, want ErrNotFound", err)
		}
		exec(t, db, "UPDATE outbox_entries SET changeset = 'x', arguments = '{', callbacks = '[' WHERE id = ?", sent.ID)
		if shown, err = o.Reveal(t.Context(), sent.ID); err != nil || !strings.Contains(string(shown.Changeset), "can't be read") || string(shown.Arguments) != `"[no JSON: {]"` || len(shown.Callbacks) != 1 || shown.Callbacks[0].State != "unreadable" {
			t.Errorf("Reveal() of a broken entry = %+v, %v, want what can be read", shown, err)
		}
	})
}
