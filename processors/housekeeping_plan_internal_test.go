package processors

import (
	"context"
	"database/sql"
	"regexp"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// plan returns how the database runs a statement.
func plan(t *testing.T, db *gorm.DB, query string, args ...any) string {
	t.Helper()
	explain := map[string]string{"postgres": "EXPLAIN ", "mysql": "EXPLAIN FORMAT=JSON ", "sqlite": "EXPLAIN QUERY PLAN "}[db.Name()]
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	if _, statement, ok := strings.Cut(query, " FOR\n"); ok && strings.HasPrefix(query, "SET STATEMENT") {
		query = statement
	}
	rows, err := pool.QueryContext(t.Context(), explain+query, args...)
	if err != nil {
		t.Fatalf("%s%s: %v", explain, query, err)
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for rows.Next() {
		fields := make([]sql.NullString, len(columns))
		into := make([]any, len(columns))
		for i := range fields {
			into[i] = &fields[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		text.WriteString(fields[len(fields)-1].String + "\n")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// fill puts done entries into a table of a database, and some that wait.
func fill(t *testing.T, db *gorm.DB) {
	t.Helper()
	numbers := map[string]string{
		"postgres": "generate_series(1, 20000) i", "mysql": "(SELECT seq AS i FROM seq_1_to_20000) n",
		"sqlite": "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT i FROM n)",
	}[db.Name()]
	at := map[string]string{"postgres": "timestamptz '2020-01-01' + i * interval '1 minute'", "mysql": "'2020-01-01' + INTERVAL i MINUTE", "sqlite": "datetime('2020-01-01', i || ' minutes')"}[db.Name()]
	statements := []string{
		"INSERT INTO outbox_entries (kind, context, event_name, processed_at) SELECT 7, 'nobody', 'x', " + at + " FROM " + numbers,
		"INSERT INTO outbox_entries (kind, context, event_name) SELECT 7, 'nobody', 'x' FROM " + numbers + " WHERE i <= 20",
		map[string]string{"postgres": "ANALYZE outbox_entries", "mysql": "ANALYZE TABLE outbox_entries", "sqlite": "ANALYZE"}[db.Name()],
	}
	if db.Name() == "postgres" {
		at = "date_trunc('day', now(), 'UTC') + i * interval '1 second'"
	}
	statements = append(statements, `INSERT INTO outbox_history (id, kind, context, resource_class, resource_id, event_name, created_at, attempts, crashes, token, processed_at)
		SELECT i, 1, 'gorm', 'order', '1', 'order_created', `+at+`, 0, 0, 1, `+at+` FROM `+numbers)
	for _, s := range statements {
		if err := db.Exec(s).Error; err != nil {
			t.Fatal(err)
		}
	}
}

// Pruning finds what is old by an index, whatever there is that is younger. A
// claim does not walk over done entries that stay.
func TestHousekeepingPlans(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		p, db := begin(t, d, 1)
		pool, err := db.DB()
		if err != nil {
			t.Fatal(err)
		}
		h := newHousekeeper(p, pool)
		defer h.session.close()
		h.completion, h.Retention = Keep, 1000*24*time.Hour
		if _, err := h.indexKept(context.Background()); err != nil {
			t.Fatal(err)
		}
		if there, err := h.isIndexed(context.Background()); err != nil || !there {
			t.Fatalf("isIndexed() = %v, %v", there, err)
		}
		fill(t, db)
		bad := regexp.MustCompile(`(?i)Seq Scan on outbox_(entries|history)|"access_type": "ALL",\s*"rows": [0-9]{4}|filesort|SCAN outbox_(entries|history)$|TEMP B-TREE|\bSort\b`)
		tests := []struct {
			name, query, index string
			args               []any
		}{
			{"prune kept", h.q.pruneKept, "outbox_kept", []any{h.q.ago(h.Retention), 100}},
			{"fresh", p.q.fresh, map[testdb.Dialect]string{testdb.Postgres: "outbox_kept_fresh", testdb.MySQL: "outbox_kept", testdb.SQLite: "outbox_kept_fresh"}[d], freshArgs(p.dialect, 0, []int64{1, 2}, 10)},
			{"prune history", h.q.pruneHistory, map[testdb.Dialect]string{testdb.MySQL: `"key": "PRIMARY"`, testdb.SQLite: "outbox_history_processed"}[d], []any{h.q.ago(h.Retention), 100}},
			{"waiting", h.q.waitingFresh, map[testdb.Dialect]string{testdb.Postgres: "outbox_kept_fresh", testdb.MySQL: "outbox_kept", testdb.SQLite: "outbox_kept_fresh"}[d], []any{int64(0)}},
			{"retries", h.q.waitingRetries, "outbox_retry", nil},
			{"processed, kept", h.q.processedKept, "outbox_kept", nil},
			{"processed", h.q.processed, map[testdb.Dialect]string{testdb.Postgres: "Tid Scan", testdb.MySQL: `"key": "PRIMARY"`, testdb.SQLite: "outbox_history_processed"}[d], nil},
		}
		if d == testdb.Postgres {
			today := "outbox_history" + time.Now().UTC().Format("_20060102")
			last := &tests[len(tests)-1]
			last.query, last.args = strings.Replace(last.query, "{partition}", today, 1), []any{today}
		}
		for _, test := range tests {
			if test.query == "" {
				continue
			}
			got := plan(t, db, test.query, test.args...)
			if !strings.Contains(got, test.index) || bad.MatchString(got) {
				t.Errorf("%s: bad %q; want index %s, plan is\n%s\n%s", test.name, bad.FindString(got), test.index, test.query, got)
			}
		}
	})
}
