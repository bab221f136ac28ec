package processors_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// What stands in the table of these tests. The pending ones are the youngest,
// but for some that stand before all others.
const (
	pending = 30_000
	others  = 8_000 // of each: dead, retries, orphans, paused, held
	step    = 50    // entries of a claim
)

// plans is a large table and the statements that a processor sent to it.
type plans struct {
	d   testdb.Dialect
	db  *gorm.DB // not tapped
	sql *sql.DB

	mu    sync.Mutex
	setup []string // of a session
	heard map[string][]any
	order []string // keys of heard
	last  []call   // since the last claim began
}

// call is a statement with its arguments.
type call struct {
	query string
	args  []any
}

func (p *plans) hear(_ context.Context, query string, args []driver.NamedValue) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case query == "connect" || query == "begin":
		return
	case strings.HasPrefix(query, "SET STATEMENT "): // of the housekeeping, which has a test of its plans
		return
	case strings.Contains(query, "GROUP BY context"): // of a status, whose plans package outbox tests
		return
	case strings.HasPrefix(query, "SET "):
		if !slices.Contains(p.setup, query) {
			p.setup = append(p.setup, query)
		}
		return
	case !strings.Contains(query, "outbox_") || strings.HasPrefix(query, "CREATE") || strings.HasPrefix(query, "ALTER"):
		return
	}
	if _, known := p.heard[query]; !known {
		p.order = append(p.order, query)
	} else if len(args) == 0 {
		return // it is prepared, to be sent with the arguments of before
	}
	values := make([]any, len(args))
	for i, arg := range args {
		values[i] = arg.Value
	}
	p.heard[query] = values
	p.last = append(p.last, call{query, values})
}

// fill makes the table. It is never analysed, unless analysed says so.
func fill(t *testing.T, d testdb.Dialect, analysed bool) (*plans, *gorm.DB) {
	t.Helper()
	p := &plans{d: d, heard: make(map[string][]any)}
	url := testdb.New(t, d)
	r := new(reliable.Registry)
	r.Handle("mine", "work", reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error { return nil }))
	p.db = url.Open(t)
	if err := errors.Join(p.db.Use(reliable.New(reliable.Config{Registry: r})), migrations.Up(t.Context(), p.db)); err != nil {
		t.Fatal(err)
	}
	var err error
	if p.sql, err = p.db.DB(); err != nil {
		t.Fatal(err)
	}
	past, future, held := "now() - interval '1 hour'", "now() + interval '1 hour'", "array_agg(id)"
	series := func(n int) string { return fmt.Sprintf("generate_series(1, %d) AS s(n)", n) }
	switch d {
	case testdb.MySQL:
		past, future, held = "utc_timestamp(6) - INTERVAL 1 HOUR", "utc_timestamp(6) + INTERVAL 1 HOUR", "json_arrayagg(id)"
		series = func(n int) string { return fmt.Sprintf("seq_1_to_%d", n) }
	case testdb.SQLite:
		past, future, held = "datetime('now', '-1 hour')", "datetime('now', '+1 hour')", "json_group_array(id)"
		series = func(n int) string {
			return fmt.Sprintf("(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < %d) SELECT n FROM s)", n)
		}
	}
	kind := reliable.EntryKind("mine", "", "due", nil)
	insert := func(n int, kind int64, context, more, values string) string {
		return fmt.Sprintf("INSERT INTO outbox_entries (kind, context, event_name, arguments%s) SELECT %d, '%s', 'due', '{\"some\":\"arguments of a usual length, which fill the rows\"}'%s FROM %s",
			more, kind, context, values, series(n))
	}
	statements := []string{
		insert(step, kind, "mine", "", ""),
		insert(others, kind, "mine", ", dead_at, attempts", ", "+past+", 25"),
		insert(others, kind, "mine", ", retry_at, attempts", ", "+future+", 1"),
		insert(step, kind, "mine", ", retry_at, attempts", ", "+past+", 1"),
		insert(others, 7, "orphan", "", ""),
		insert(others, 8, "paused", "", ""),
		"INSERT INTO outbox_pauses (id, context) VALUES (1, 'paused')",
		insert(others, kind, "mine", ", headers", ", '{}'"), // held by a worker that lives, and by one that does not
		"INSERT INTO outbox_workers (id, processor, lease_ms, threads, hostname, pid) VALUES ('lives', 'non_ordered', 3600000, 1, 'x', 1)",
		"INSERT INTO outbox_claims (worker, ids, lo, hi) SELECT 'lives', " + held + ", min(id), max(id) FROM outbox_entries WHERE headers IS NOT NULL AND id % 20 > 0 GROUP BY id % 20",
		"INSERT INTO outbox_claims (worker, ids, lo, hi) SELECT 'gone', " + held + ", min(id), max(id) FROM outbox_entries WHERE headers IS NOT NULL AND id % 20 = 0 AND id % 100 = 0",
		"DELETE FROM outbox_entries WHERE headers IS NOT NULL AND id % 20 = 0 AND id % 100 > 0",
		insert(pending, kind, "mine", "", ""),
	}
	if d == testdb.Postgres {
		for _, table := range []string{"entries", "claims", "workers"} { // nobody analyses behind the test's back
			statements = slices.Insert(statements, 0, "ALTER TABLE outbox_"+table+" SET (autovacuum_enabled = false)")
		}
	}
	if analysed {
		analyse := map[testdb.Dialect]string{testdb.Postgres: "ANALYZE", testdb.MySQL: "ANALYZE TABLE outbox_entries, outbox_claims", testdb.SQLite: "ANALYZE"}
		statements = append(statements, analyse[d])
	}
	for _, statement := range statements {
		if _, err := p.sql.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	tapped := url.Tap(t, p.hear)
	if err := tapped.Use(reliable.New(reliable.Config{Registry: r})); err != nil {
		t.Fatal(err)
	}
	return p, tapped
}

// work lets a processor do all that it ever does; with a lease of a minute, all
// but the rescue. It returns the statements of the last claim.
func (p *plans) work(t *testing.T, db *gorm.DB, completion processors.Completion, lease time.Duration) (claim []call) {
	t.Helper()
	plugin, err := reliable.From(db)
	if err != nil {
		t.Fatal(err)
	}
	beats := make(chan struct{}, 100)
	defer reliable.Subscribe(plugin.Monitor(), func(*reliable.HeartbeatSent) { beats <- struct{}{} })()
	defer reliable.Subscribe(plugin.Monitor(), func(e *reliable.ErrorOccurred) { t.Logf("%s: %v", e.Step, e.Err) })()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	n := &processors.NonOrdered{LeaseTTL: lease, Completion: completion}
	go func() {
		ended <- n.Run(ctx, processors.Site{DB: db, Plugin: plugin, Worker: "planner", Threads: 1}, func() {})
	}()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run() = %v", err)
		}
	}()
	for i := range 12 {
		p.mu.Lock()
		p.last = nil
		p.mu.Unlock()
		c, err := n.Claim(t.Context(), step)
		if err != nil || c == nil {
			t.Fatalf("claim %d: %v, %v, want entries", i+1, c, err)
		}
		p.mu.Lock()
		claim = slices.Clone(p.last)
		p.mu.Unlock()
		if i%4 == 3 {
			err = c.Release(t.Context())
		} else {
			outcomes := make([]reliable.Outcome, len(c.Entries()))
			for j, e := range c.Entries() {
				outcomes[j] = reliable.Outcome{Entry: e, State: reliable.State(min(j%8, 2)), RetryAt: c.At().Add(time.Minute), Attempts: 1, ErrorClass: "x", ErrorMessage: "x"}
			}
			err = c.Finish(t.Context(), outcomes)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Probe(t.Context()); err != nil {
		t.Errorf("Probe() = %v", err)
	}
	for range 3 {
		if lease < time.Minute {
			<-beats
		}
	}
	return claim
}

// Every statement of a worker's finds its rows by an index, and none sorts the
// backlog, whatever the database knows of the table.
func TestPlans(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		for _, analysed := range []bool{false, true} {
			for _, completion := range []processors.Completion{processors.Archive, processors.Delete, processors.Keep} {
				if completion != processors.Archive && (analysed || testing.Short()) {
					continue // they differ in one statement only
				}
				t.Run(fmt.Sprintf("%s analysed=%t", completion, analysed), func(t *testing.T) {
					p, db := fill(t, d, analysed)
					p.work(t, db, completion, 3*time.Second)
					if len(p.order) < 10 {
						t.Fatalf("%d statements were heard: that can't be all: %q", len(p.order), p.order)
					}
					for _, query := range p.order {
						plan, mistakes := p.explain(t, query, p.heard[query])
						for _, mistake := range mistakes {
							t.Errorf("%s:\n%s\n%s", mistake, query, plan)
						}
					}
				})
			}
		}
	})
}
