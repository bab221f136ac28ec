package processors_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
)

// A claim of a worker that has run for a while looks at about as many rows as
// it takes: dead entries, orphans, paused ones, those that others hold, and
// what was deleted while an old transaction still sees it, cost it nothing. (The
// scan from the start, for late commits, meets all of them: it is paced.)
func TestClaimTouchesWhatItTakes(t *testing.T) {
	for _, d := range []testdb.Dialect{testdb.Postgres, testdb.MySQL} { // SQLite counts nothing
		t.Run(d.String(), func(t *testing.T) {
			p, db := fill(t, d, true)
			old, err := p.sql.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = old.Rollback() }()
			if _, err := old.ExecContext(t.Context(), "SELECT count(*) FROM outbox_claims"); err != nil {
				t.Fatal(err)
			}
			rows, pages := 0.0, 0.0
			for _, c := range p.work(t, db, processors.Archive, time.Minute) {
				if !strings.Contains(c.query, "FROM outbox_entries") || !strings.HasPrefix(c.query, "SELECT") {
					continue
				}
				r, b := p.measure(t, c)
				t.Logf("%.0f rows, %.0f pages: %.60s... %v", r, b, c.query, c.args)
				rows += r
				pages += b
			}
			t.Logf("a claim of %d looks at %.0f rows and %.0f pages", step, rows, pages)
			if rows < step || rows > 6*step || pages > 10*step {
				t.Errorf("a claim of %d looks at %.0f rows and %.0f pages, want at most %d and %d", step, rows, pages, 6*step, 10*step)
			}
		})
	}
}

// measure runs a statement and returns how many rows of the entries it looked
// at, and on PostgreSQL how many pages it read.
func (p *plans) measure(t *testing.T, c call) (rows, pages float64) {
	t.Helper()
	p.inSession(t, func(ctx context.Context, tx *sql.Tx) {
		if p.d == testdb.Postgres {
			var found []struct{ Plan node }
			plan := read(ctx, t, tx, "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "+c.query, c.args)
			if err := json.Unmarshal([]byte(plan), &found); err != nil {
				t.Fatalf("%v:\n%s", err, plan)
			}
			rows, pages = found[0].Plan.touched(), found[0].Plan.Hit+found[0].Plan.Read
			return
		}
		before := handlerReads(ctx, t, tx)
		read(ctx, t, tx, c.query, c.args)
		rows = handlerReads(ctx, t, tx) - before
		var held float64 // the ids in the claims' rows are unfolded, and looked up there,
		var above int64  // unless the scan begins above them
		if len(c.args) == 4 {
			above, _ = c.args[0].(int64)
		}
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM outbox_claims c, JSON_TABLE(c.ids, '$[*]' COLUMNS (id bigint PATH '$')) j WHERE c.hi > ?", above).Scan(&held); err != nil {
			t.Fatal(err)
		}
		rows = max(rows-held, 0)
	})
	return rows, pages
}

// handlerReads returns how many rows the session has read on MariaDB.
func handlerReads(ctx context.Context, t *testing.T, tx *sql.Tx) (n float64) {
	t.Helper()
	for line := range strings.Lines(read(ctx, t, tx, "SHOW SESSION STATUS LIKE 'Handler_read%'", nil)) {
		var name string
		var value float64
		if _, err := fmt.Sscan(line, &name, &value); err == nil {
			n += value
		}
	}
	return n
}
