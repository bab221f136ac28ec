package outbox_test

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/outbox"
)

// statements is a logger that keeps what is sent, with its values.
type statements struct {
	logger.Interface
	mu   sync.Mutex
	sent []string
}

// Trace implements [logger.Interface].
func (s *statements) Trace(_ context.Context, _ time.Time, fc func() (string, int64), _ error) {
	text, _ := fc()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, text)
}

// What is read for a list of a few keys, and for a release, does not grow with
// how many are parked, nor with what waits: no statement reads or sorts a table.
func TestPlans(t *testing.T) {
	const parkedKeys, behind = 3000, 3 // entries of each
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		db := open(t, d)
		keep(t, db)
		key := "concat('key-', i %% %d)"
		if d == testdb.SQLite {
			key = "'key-' || (i %% %d)"
		}
		key = fmt.Sprintf(key, parkedKeys)
		exec(t, db, fmt.Sprintf("INSERT INTO outbox_entries (kind, context, event_name, causality_key, lane, dead_at) SELECT 1, 'billing', 'sent', %s, i %% %d %% 64, CASE WHEN i <= %d THEN '2026-01-05 10:00:00' END%s FROM (%s) n",
			key, parkedKeys, parkedKeys, map[testdb.Dialect]string{testdb.Postgres: "::timestamptz"}[d], numbers(d, parkedKeys*(1+behind))))
		exec(t, db, "INSERT INTO outbox_parked_keys (causality_key, lane, entry_id) SELECT causality_key, lane, id FROM outbox_entries WHERE dead_at IS NOT NULL")
		analyze(t, db)
		seen := &statements{Interface: logger.Discard}
		o := outbox.Of(db.Session(&gorm.Session{Logger: seen}))
		keys, err := o.ParkedKeys(t.Context(), outbox.ParkedFilter{Limit: 4})
		if err != nil || len(keys) != 4 || keys[0].Waiting != behind {
			t.Fatalf("ParkedKeys() = %+v, %v, want four", keys, err)
		}
		for i, how := range []outbox.Release{outbox.RetryHead, outbox.DiscardHead, outbox.SkipHead} {
			if err := o.ReleaseKey(t.Context(), keys[i].Key, keys[i].Head, how); err != nil {
				t.Fatal(err)
			}
		}
		for _, query := range slices.Compact(seen.sent) {
			verb, _, _ := strings.Cut(query, " ")
			if verb != "SELECT" && verb != "UPDATE" && verb != "DELETE" {
				continue
			}
			if plan, bad := explain(t, db, query); bad != "" {
				t.Errorf("%s of\n%s\n%s", bad, query, plan)
			}
		}
	})
}

// numbers selects 1 to n as i.
func numbers(d testdb.Dialect, n int) string {
	return fmt.Sprintf(map[testdb.Dialect]string{
		testdb.Postgres: "SELECT i FROM generate_series(1, %d) i", testdb.MySQL: "SELECT seq AS i FROM seq_1_to_%d",
		testdb.SQLite: "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) SELECT i FROM n",
	}[d], n)
}

func analyze(t *testing.T, db *gorm.DB) {
	t.Helper()
	for _, table := range []string{"outbox_entries", "outbox_parked_keys"} {
		exec(t, db, map[string]string{"postgres": "ANALYZE ", "mysql": "ANALYZE TABLE ", "sqlite": "ANALYZE "}[db.Name()]+table)
	}
}

// derived is where MariaDB reads what a subquery with a LIMIT gave.
var derived = regexp.MustCompile(`"table_name": "<derived\d+>",\s+"access_type": "ALL",`)

// explain returns a statement's plan and what of it must not be.
func explain(t *testing.T, db *gorm.DB, query string) (plan, bad string) {
	t.Helper()
	prefix := map[string]string{"postgres": "EXPLAIN ", "mysql": "EXPLAIN FORMAT=JSON ", "sqlite": "EXPLAIN QUERY PLAN "}[db.Name()]
	var rows []map[string]any
	if err := db.Raw(prefix + query).Scan(&rows).Error; err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	for _, row := range rows {
		for _, value := range row {
			plan += fmt.Sprintf("%s\n", value)
		}
	}
	plan = derived.ReplaceAllString(plan, "")
	for _, word := range map[string][]string{
		"postgres": {"Seq Scan", "Sort"}, "mysql": {"filesort", "temporary", `"access_type": "ALL"`}, "sqlite": {"SCAN e\n", "SCAN outbox_entries\n", "TEMP B-TREE"},
	}[db.Name()] {
		if strings.Contains(plan, word) {
			return plan, word
		}
	}
	return plan, ""
}
