package outbox_test

import (
	"strings"
	"testing"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/outbox"
)

// Rows that no worker or plugin writes are shown, counted and given up as all
// others are, and keep nothing else from being so (74).
func TestForgedRows(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		db := open(t, d)
		keep(t, db)
		when := map[testdb.Dialect]string{testdb.Postgres: "infinity", testdb.MySQL: "1000-01-01 00:00:00", testdb.SQLite: "soon"}[d]
		const insert = "INSERT INTO outbox_entries (context, resource_class, resource_id, event_name, owed, causality_key, lane, changeset, arguments, headers, callbacks, attempts, crashes, created_at, retry_at, dead_at) VALUES "
		exec(t, db, insert+"('billing', '__proto__', '../../etc/passwd', '{{.}}', '{\"a\":1}', NULL, 7, 'AAAA', '{', '[[[', '7', -5, -1, ?, ?, ?)", when, when, when)
		exec(t, db, insert+"('', '', '', '', '\"x', ?, 3000, '{\"v\":99}', '1e999', 'null', '{\"ledger\":null,\"\":{\"state\":\"x\",\"attempts\":-1}}', 2147483647, 0, ?, NULL, ?)", strings.Repeat("k", 255), when, when)
		exec(t, db, insert+"('billing', '', '', 'invoice_sent', NULL, '', NULL, NULL, NULL, NULL, NULL, 0, 0, ?, NULL, NULL)", when)
		good := record(t, db, "", "invoice_sent")[0]
		o := outbox.Of(db)
		page, err := o.List(t.Context(), outbox.Filter{})
		if err != nil || len(page.Entries) != 4 || page.Entries[3].ID != good {
			t.Fatalf("List() = %+v, %v, want all four", page, err)
		}
		for _, e := range page.Entries {
			if shown, err := o.Reveal(t.Context(), e.ID); err != nil || shown.ID != e.ID {
				t.Errorf("Reveal(%d) = %+v, %v, want it", e.ID, shown, err)
			}
		}
		if parked, err := o.List(t.Context(), outbox.Filter{State: outbox.Parked, IDs: idsOf(page.Entries)}); err != nil || len(parked.Entries) != 0 {
			t.Errorf("List() of what is parked = %+v, %v, want none: no key stands there", parked, err)
		}
		if s, err := o.Status(t.Context()); err != nil || s.Pending.N != 2 || s.Dead.N != 2 {
			t.Errorf("Status() = %+v, %v, want two that are pending and two that are dead", s, err)
		}
		if got, err := o.Retry(t.Context(), outbox.Filter{IDs: idsOf(page.Entries[:1])}); err == nil || !strings.Contains(err.Error(), "discard") || got.Skipped != 1 {
			t.Errorf("Retry() = %+v, %v, want an error that says what to do", got, err)
		}
		if got, err := o.Discard(t.Context(), outbox.Filter{State: outbox.Dead}); err != nil || got != (outbox.Result{Done: 2}) {
			t.Errorf("Discard() = %+v, %v, want two", got, err)
		}
	})
}
