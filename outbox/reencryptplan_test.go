package outbox_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/outbox"
)

// In a table of any length, a pass reads by the primary key, a window at a time,
// and ends at what was the end when it began.
func TestReencryptPlans(t *testing.T) {
	const rows, stale = 60_000, 300
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		var ran atomic.Int64
		db := withKeys(t, testdb.New(t, d), keys("new"), &ran)
		exec(t, db, fmt.Sprintf(`INSERT INTO outbox_entries (kind, context, event_name, owed, arguments) SELECT 1, 'billing', 'sent', '["ledger"]', CASE WHEN i %% %d = 0 THEN 'false' END FROM (%s) n`,
			rows/stale, numbers(d, rows)))
		analyze(t, db)
		seen := &statements{Interface: logger.Discard}
		o := outbox.Of(db.Session(&gorm.Session{Logger: seen}))
		if n, err := o.CountStale(t.Context()); err != nil || n != (outbox.Count{N: stale}) {
			t.Errorf("CountStale() = %v, %v, want %d", n, err, stale)
		}
		got, err := o.Reencrypt(t.Context(), nil)
		if err != nil || got.Done != stale || got.Last < rows {
			t.Errorf("Reencrypt() = %+v, %v, want %d", got, err, stale)
		}
		checked := 0
		for _, query := range slices.Compact(seen.sent) {
			if strings.HasPrefix(query, "SELECT") || strings.HasPrefix(query, "UPDATE") && checked < 40 {
				checked++
				if plan, bad := explain(t, db, query); bad == "Seq Scan" || bad == `"access_type": "ALL"` || strings.HasPrefix(bad, "SCAN") {
					t.Errorf("%s of\n%.300s\n%s", bad, query, plan)
				}
			}
		}
		if checked < 20 {
			t.Errorf("%d statements were looked at, want all", checked)
		}
	})
}
