package outbox_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/outbox"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// due returns the ids of what is due, and that is as new but for its last
// error.
func due(t *testing.T, db *gorm.DB) (ids []int64) {
	t.Helper()
	now := map[string]string{"postgres": "clock_timestamp()", "mysql": "utc_timestamp(6)", "sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now')"}[db.Name()]
	err := db.Raw("SELECT id FROM outbox_entries WHERE dead_at IS NULL AND retry_at <= "+now+" AND attempts = 0 AND crashes = 0 AND NOT suspect AND kind = ? ORDER BY id",
		reliable.EntryKind("billing", "", "invoice_sent", []string{"ledger"})).Scan(&ids).Error
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func TestRetry(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		url := testdb.New(t, d)
		db, operator := openURL(t, url), openURL(t, url)
		plugin, err := reliable.From(operator)
		if err != nil {
			t.Fatal(err)
		}
		woken, stop := plugin.Wakes()
		defer stop()
		changed := make(chan *reliable.EntriesChanged, 10)
		defer reliable.Subscribe(plugin.Monitor(), func(e *reliable.EntriesChanged) { changed <- e })()
		f := fill(t, db)
		o := outbox.Of(operator)
		if got, err := o.Retry(t.Context(), outbox.Filter{IDs: append(f.due, f.waiting, f.held)}); err != nil || got != (outbox.Result{}) || len(woken) != 0 {
			t.Errorf("Retry() of what is not dead = %+v, %v, %d wakes, want nothing", got, err, len(woken))
		}
		got, err := o.Retry(t.Context(), outbox.Filter{State: outbox.Dead, Limit: 2})
		if want := (outbox.Result{Done: 2, Next: f.skipped}); err != nil || got != want {
			t.Fatalf("Retry() = %+v, %v, want %+v", got, err, want)
		}
		if e := within(t, changed); !slices.Equal(e.IDs, []int64{f.dead, f.skipped}) || e.How != "retry" {
			t.Errorf("event = %+v, want the two", e)
		}
		if ids := due(t, db); !slices.Equal(ids, []int64{f.dead, f.skipped}) {
			t.Errorf("due are %v, want %d and %d", ids, f.dead, f.skipped)
		}
		select {
		case <-woken:
		default:
			t.Error("no worker was woken")
		}
		skipped := row(t, db, "outbox_entries", "lane, callbacks, error_class", f.skipped)
		if text := string(asText(skipped["callbacks"])); !strings.Contains(text, `"ledger":{"state":"pending"`) || !strings.Contains(text, `"mail":{"state":"done"}`) || skipped["lane"] == nil || string(asText(skipped["error_class"])) != "refused" {
			t.Errorf("entry = %v, want its place in the order, its error, and only the ledger pending", skipped)
		}
		if n := count(t, db, "outbox_parked_keys"); n != 1 {
			t.Errorf("%d keys are parked, want one", n)
		}
		if got, err = o.Retry(t.Context(), outbox.Filter{State: outbox.Dead, After: got.Next}); err != nil || got != (outbox.Result{Done: 1}) {
			t.Fatalf("Retry() of the rest = %+v, %v, want one", got, err)
		}
		if ids := due(t, db); !slices.Equal(ids, []int64{f.dead, f.skipped, f.parked}) {
			t.Errorf("due are %v, want also %d", ids, f.parked)
		}
		if n := count(t, db, "outbox_parked_keys"); n != 0 {
			t.Errorf("%d keys are parked, want none", n)
		}
		exec(t, db, "UPDATE outbox_entries SET dead_at = '2026-01-06 10:00:00', lane = NULL, callbacks = '[' WHERE id = ?", f.dead)
		exec(t, db, "UPDATE outbox_entries SET dead_at = '2026-01-06 10:00:00', lane = NULL WHERE id = ?", f.due[2])
		got, err = o.Retry(t.Context(), outbox.Filter{State: outbox.Dead})
		if err == nil || !strings.Contains(err.Error(), "can't be read") || got != (outbox.Result{Done: 1, Skipped: 1}) {
			t.Errorf("Retry() with one that can't be read = %+v, %v, want the other done, and that one named", got, err)
		}
	})
}

func asText(v any) []byte {
	switch v := v.(type) {
	case []byte:
		return v
	case string:
		return []byte(v)
	default:
		return nil
	}
}

func TestDiscard(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		db := open(t, d)
		f := fill(t, db)
		keep(t, db)
		o := outbox.Of(db)
		exec(t, db, `UPDATE outbox_entries SET owed = '["tax"]' WHERE id = ?`, f.held) // an orphan here, another's work
		for _, test := range []struct {
			filter outbox.Filter
			want   outbox.Result
			gone   []int64
		}{
			{outbox.Filter{State: outbox.Orphan}, outbox.Result{Done: 1, Skipped: 1}, []int64{f.orphan}},
			{outbox.Filter{ErrorClass: "refused"}, outbox.Result{Done: 2}, []int64{f.dead, f.skipped}},
			{outbox.Filter{State: outbox.Parked, Key: "ann"}, outbox.Result{Done: 1}, []int64{f.parked}},
			{outbox.Filter{State: outbox.Dead}, outbox.Result{}, nil},
		} {
			got, err := o.Discard(t.Context(), test.filter)
			if err != nil || got != test.want {
				t.Errorf("Discard(%+v) = %+v, %v, want %+v", test.filter, got, err, test.want)
			}
			for _, id := range test.gone {
				_ = row(t, db, "outbox_history", "id", id)
			}
		}
		if n := count(t, db, "outbox_history"); n != 4 {
			t.Errorf("%d entries in the history, want 4", n)
		}
		if text := asText(row(t, db, "outbox_history", "error_class", f.parked)["error_class"]); string(text) != "timeout" {
			t.Errorf("error_class = %q in the history, want its own", text)
		}
		if n := count(t, db, "outbox_entries") + count(t, db, "outbox_parked_keys"); n != 6 {
			t.Errorf("%d entries and parked keys are left, want the six that are pending", n)
		}
	})
}

// Two operators at the same entries: each is changed once (80).
func TestOperators(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		const each = 120
		url := testdb.New(t, d)
		db := openURL(t, url)
		keep(t, db)
		record(t, db, "", slices.Repeat([]string{"invoice_sent"}, each)...)
		exec(t, db, "UPDATE outbox_entries SET dead_at = '2026-01-05 10:00:00', lane = NULL")
		for i := range each / 10 {
			key := "key-" + string(rune('a'+i))
			die(t, db, key, record(t, db, key, "invoice_sent")[0], "05")
		}
		var wg sync.WaitGroup
		results := make([]outbox.Result, 4)
		for i := range results {
			o := outbox.Of(openURL(t, url))
			wg.Go(func() {
				var err error
				if i%2 == 0 {
					results[i], err = o.Retry(t.Context(), outbox.Filter{State: outbox.Dead})
				} else {
					results[i], err = o.Discard(t.Context(), outbox.Filter{State: outbox.Dead})
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		retried, discarded := results[0].Done+results[2].Done, results[1].Done+results[3].Done
		if retried != len(due(t, db)) || int64(discarded) != count(t, db, "outbox_history") || retried+discarded != each+each/10 || count(t, db, "outbox_parked_keys") != 0 {
			t.Errorf("results = %+v: %d are due, %d in the history, %d keys parked, want each of %d entries changed once, and no key parked",
				results, len(due(t, db)), count(t, db, "outbox_history"), count(t, db, "outbox_parked_keys"), each+each/10)
		}
	})
}
