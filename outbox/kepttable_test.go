package outbox_test

import (
	"slices"
	"strings"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/outbox"
)

// In a table that keeps what is done, a status finds what is pending by the
// indexes that workers make for such a table, and reads none of the rest.
func TestStatusOfAKeptTable(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		db := open(t, d)
		indexes, index := []string{
			"CREATE INDEX outbox_kept ON outbox_entries (processed_at) WHERE processed_at IS NOT NULL",
			"CREATE INDEX outbox_kept_fresh ON outbox_entries (id) WHERE retry_at IS NULL AND dead_at IS NULL AND processed_at IS NULL",
		}, "outbox_kept_fresh"
		if d == testdb.MySQL {
			indexes, index = []string{"CREATE INDEX outbox_kept ON outbox_entries (processed_at, dead_at, retry_at)"}, `"key": "outbox_kept"`
		}
		for _, create := range indexes {
			exec(t, db, create)
		}
		done := map[testdb.Dialect]string{testdb.Postgres: "CAST('2026-01-05 10:00:00' AS timestamptz)"}[d]
		if done == "" {
			done = "'2026-01-05 10:00:00'"
		}
		exec(t, db, "INSERT INTO outbox_entries (kind, context, event_name, owed, processed_at) SELECT 1, 'billing', 'sent', '[\"ledger\"]', "+done+" FROM ("+numbers(d, 50_000)+") n")
		waits := record(t, db, "", "invoice_sent", "invoice_paid", "invoice_sent")[0]
		exec(t, db, "UPDATE outbox_entries SET retry_at = '2099-01-05 10:00:00' WHERE id = ?", waits)
		analyze(t, db)
		seen := &statements{Interface: logger.Discard}
		s, err := outbox.Of(db.Session(&gorm.Session{Logger: seen})).Status(t.Context())
		if err != nil || s.Pending.N != 3 || s.Waiting.N != 1 || s.Eligible.N != 2 || len(s.Kinds) != 2 || s.Kinds[0].N != 2 {
			t.Fatalf("Status() = %+v, %v, want three pending entries of two kinds, one of them waiting", s, err)
		}
		for name, condition := range map[string]string{index: "retry_at IS NULL", "outbox_retry": "retry_at IS NOT NULL"} {
			i := slices.IndexFunc(seen.sent, func(query string) bool {
				return strings.Contains(query, "GROUP BY") && strings.Contains(query, condition)
			})
			if i < 0 {
				t.Fatalf("no statement counts kinds where %s: %q", condition, seen.sent)
			}
			if plan, _ := explain(t, db, seen.sent[i]); !strings.Contains(plan, name) {
				t.Errorf("%s is not used by\n%s\n%s", name, seen.sent[i], plan)
			}
		}
	})
}
