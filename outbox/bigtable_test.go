package outbox_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/outbox"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// In a table that is longer than a page may look, a list ends at the bound and
// goes on from there, and no statement of a list, a status or an operation reads
// or sorts the table.
func TestBigTable(t *testing.T) {
	const rows, few = outbox.MaxLooked + 20_000, 1000 // few of them wait, twice as many are dead
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		db := open(t, d)
		keep(t, db)
		stamp, key := map[testdb.Dialect]string{testdb.Postgres: "::timestamptz"}[d], "concat('key-', i)"
		if d == testdb.SQLite {
			key = "'key-' || i"
		}
		is := func(n int) string { return fmt.Sprintf("i %% %d = %d", rows/few, n) }
		exec(t, db, "INSERT INTO outbox_entries (kind, context, event_name, owed, dead_at, retry_at, lane, causality_key) SELECT 1, 'billing', 'sent', '[\"ledger\"]', "+
			"CASE WHEN "+is(1)+" OR "+is(3)+" THEN '2026-01-05 10:00:00' END"+stamp+", CASE WHEN "+is(2)+" THEN '2099-01-05 10:00:00' END"+stamp+
			", CASE WHEN "+is(3)+" THEN 1 END, CASE WHEN "+is(3)+" THEN "+key+" END FROM ("+numbers(d, rows)+") n")
		var heads []struct {
			ID           int64
			CausalityKey string
		}
		err := db.Transaction(func(tx *gorm.DB) error {
			if err := tx.Raw("SELECT id, causality_key FROM outbox_entries WHERE lane IS NOT NULL").Scan(&heads).Error; err != nil {
				return err
			}
			for _, h := range heads {
				if err := tx.Exec("UPDATE outbox_entries SET lane = ? WHERE id = ?", reliable.LaneOf(h.CausalityKey), h.ID).Error; err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		exec(t, db, "INSERT INTO outbox_parked_keys (causality_key, lane, entry_id) SELECT causality_key, lane, id FROM outbox_entries WHERE lane IS NOT NULL")
		last := record(t, db, "ann", "invoice_sent")[0]
		analyze(t, db)
		seen := &statements{Interface: logger.Discard}
		o := outbox.Of(db.Session(&gorm.Session{Logger: seen}))

		rare := outbox.Filter{Event: "invoice_sent"}
		page, err := o.List(t.Context(), rare)
		if err != nil || len(page.Entries) != 0 || !page.Bounded || page.Next == 0 || page.Looked > outbox.MaxLooked {
			t.Errorf("List() = %+v, %v, want it to end at the bound with nothing", page, err)
		}
		if n, err := o.Count(t.Context(), rare); err != nil || n != (outbox.Count{AtLeast: true}) || n.String() != "0+" {
			t.Errorf("Count() = %s, %v, want 0 or more", n, err)
		}
		rare.After = page.Next
		if page, err = o.List(t.Context(), rare); err != nil || !slices.Equal(idsOf(page.Entries), []int64{last}) || page.Bounded || page.Next != 0 {
			t.Errorf("List() from there = %+v, %v, want the entry", page, err)
		}
		for _, test := range []struct {
			filter outbox.Filter
			want   int
		}{
			{outbox.Filter{State: outbox.Dead}, 2 * few},
			{outbox.Filter{State: outbox.Waiting}, few},
			{outbox.Filter{Key: "ann"}, 1},
			{outbox.Filter{State: outbox.Parked}, few},
			{outbox.Filter{State: outbox.Held}, 0},
			{outbox.Filter{State: outbox.Dead, Context: "gorm"}, 0},
			{outbox.Filter{IDs: []int64{last, 5}}, 2},
		} {
			if n, err := o.Count(t.Context(), test.filter); err != nil || n != (outbox.Count{N: int64(test.want)}) {
				t.Errorf("Count(%+v) = %s, %v, want exactly %d: an index serves it", test.filter, n, err, test.want)
			}
		}
		if n, err := o.Count(t.Context(), outbox.Filter{State: outbox.Dead, Limit: 7}); err != nil || n != (outbox.Count{N: 7}) {
			t.Errorf("Count() = %s, %v, want the limit", n, err)
		}
		if n, err := o.Count(t.Context(), outbox.Filter{State: outbox.Eligible, Limit: 7}); err != nil || n != (outbox.Count{N: 7}) {
			t.Errorf("Count() = %s, %v, want the limit", n, err)
		}
		if page, err = o.List(t.Context(), outbox.Filter{State: outbox.Eligible, OlderThan: time.Nanosecond, Callback: "ledger", Limit: 3}); err != nil || len(page.Entries) != 3 {
			t.Errorf("List() = %+v, %v, want three", page, err)
		}
		if r, err := o.Retry(t.Context(), outbox.Filter{State: outbox.Dead, Limit: 3}); err != nil || r.Done != 3 {
			t.Errorf("Retry() = %+v, %v, want three", r, err)
		}
		if r, err := o.Discard(t.Context(), outbox.Filter{State: outbox.Dead, Limit: 3}); err != nil || r.Done != 3 {
			t.Errorf("Discard() = %+v, %v, want three", r, err)
		}
		if _, err := o.Get(t.Context(), last); err != nil {
			t.Error(err)
		}
		s, err := o.Status(t.Context())
		if err != nil || !s.Pending.Approx || !s.Eligible.Approx || s.Dead != (outbox.Gauge{N: 2*few - 6}) || s.Waiting != (outbox.Gauge{N: few}) || s.ParkedKeys != (outbox.Gauge{N: few - 3}) {
			t.Errorf("Status() = %+v, %v, want an estimate of what is pending, and what is dead and waits", s, err)
		}
		if n := s.Pending.N; n < rows*2/3 || n > rows*4/3 {
			t.Errorf("%s are pending, want about %d", s.Pending, rows-few)
		}
		small := func(query string) bool { // tables of a few rows
			return strings.Contains(query, "FROM outbox_claims") || strings.Contains(query, "FROM outbox_workers") || strings.Contains(query, "outbox_pauses")
		}
		checked := 0
		exec(t, db, "UPDATE outbox_entries SET dead_at = '2026-01-05 10:00:00', lane = NULL, retry_at = NULL")
		everything := rows + 1 - 3 // three are discarded
		for filter, want := range map[outbox.State]outbox.Count{outbox.Dead: {N: outbox.MaxLooked, AtLeast: true}, outbox.Waiting: {}} {
			if n, err := outbox.Of(db).Count(t.Context(), outbox.Filter{State: filter}); err != nil || n != want {
				t.Errorf("Count(%s) = %s, %v of %d dead entries, want %s", filter, n, err, everything, want)
			}
		}
		behind := record(t, db, "bob", "invoice_sent")[0]
		exec(t, db, "UPDATE outbox_entries SET created_at = '2020-01-01 00:00:00' WHERE id = ?", behind)
		if s, err := outbox.Of(db).Status(t.Context()); err != nil || time.Duration(s.OldestEligible) < 24*time.Hour {
			t.Errorf("Status() = %+v, %v, want the age of the entry behind all that is dead", s, err)
		}
		for _, query := range slices.Compact(seen.sent) {
			verb, _, _ := strings.Cut(query, " ")
			if verb != "SELECT" && verb != "UPDATE" && verb != "DELETE" || small(query) {
				continue
			}
			checked++
			plan, bad := explain(t, db, query)
			if bad != "" && bad != "Seq Scan" && bad != `"access_type": "ALL"` && strings.Contains(query, "GROUP BY") {
				continue // of as many rows as a status counts
			}
			if bad != "" {
				t.Errorf("%s of\n%.500s\n%s", bad, query, plan)
			}
		}
		if checked < 50 {
			t.Errorf("%d statements were seen, want all", checked)
		}
	})
}
