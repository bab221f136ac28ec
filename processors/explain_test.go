package processors_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// inSession runs f in a transaction that is rolled back, with a worker's
// settings.
func (p *plans) inSession(t *testing.T, f func(ctx context.Context, tx *sql.Tx)) {
	t.Helper()
	conn, err := p.sql.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	for _, set := range p.setup {
		if _, err := conn.ExecContext(t.Context(), set); err != nil {
			t.Fatal(err)
		}
	}
	tx, err := conn.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	f(t.Context(), tx)
}

// read returns the first columns of a query's rows, or all of them, a line per
// row.
func read(ctx context.Context, t *testing.T, tx *sql.Tx, query string, args []any) string {
	t.Helper()
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for rows.Next() {
		values, into := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			text.WriteString(v.String + " ")
		}
		text.WriteString("\n")
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return text.String()
}

// explain returns a statement's plan, and what is wrong with it.
func (p *plans) explain(t *testing.T, query string, args []any) (plan string, mistakes []string) {
	t.Helper()
	p.inSession(t, func(ctx context.Context, tx *sql.Tx) {
		switch p.d {
		case testdb.Postgres:
			plan = read(ctx, t, tx, "EXPLAIN (FORMAT JSON) "+query, args)
			var found []struct{ Plan node }
			if err := json.Unmarshal([]byte(plan), &found); err != nil {
				t.Fatalf("%v:\n%s", err, plan)
			}
			mistakes = found[0].Plan.mistakes()
		case testdb.MySQL:
			plan = read(ctx, t, tx, "EXPLAIN FORMAT=JSON "+query, args)
			mistakes = mariaMistakes(plan)
		case testdb.SQLite:
			plan = read(ctx, t, tx, "EXPLAIN QUERY PLAN "+query, args)
			for line := range strings.Lines(plan) {
				if strings.Contains(line, "SCAN outbox_entries") && !strings.Contains(query, "FROM outbox_entries ORDER BY id LIMIT") || strings.Contains(line, "SCAN e") {
					mistakes = append(mistakes, "it reads the whole table")
				}
				if strings.Contains(line, "TEMP B-TREE") && strings.Contains(plan, "outbox_entries") {
					mistakes = append(mistakes, "it sorts")
				}
			}
		}
	})
	return plan, mistakes
}

// node is a node of a plan of PostgreSQL's.
type node struct {
	Type     string  `json:"Node Type"`
	Relation string  `json:"Relation Name"`
	Index    string  `json:"Index Name"`
	Rows     float64 `json:"Actual Rows"`
	Loops    float64 `json:"Actual Loops"`
	Filtered float64 `json:"Rows Removed by Filter"`
	Rechecks float64 `json:"Rows Removed by Index Recheck"`
	Hit      float64 `json:"Shared Hit Blocks"`
	Read     float64 `json:"Shared Read Blocks"`
	Plans    []node  `json:"Plans"`
}

// touches reports whether the node, or one below it, reads the entries.
func (n node) touches() bool {
	for _, below := range n.Plans {
		if below.touches() {
			return true
		}
	}
	return n.Relation == "outbox_entries" && strings.HasSuffix(n.Type, "Scan")
}

func (n node) mistakes() (found []string) {
	if n.Type == "Seq Scan" && n.Relation == "outbox_entries" {
		found = append(found, "it reads the whole table")
	}
	if strings.Contains(n.Type, "Sort") && n.touches() {
		found = append(found, "it sorts the backlog")
	}
	for _, below := range n.Plans {
		found = append(found, below.mistakes()...)
	}
	return found
}

// touched returns how many rows of the entries the plan's run looked at.
func (n node) touched() (rows float64) {
	if n.Relation == "outbox_entries" && strings.HasSuffix(n.Type, "Scan") {
		rows = (n.Rows + n.Filtered + n.Rechecks) * n.Loops
	}
	for _, below := range n.Plans {
		rows += below.touched()
	}
	return rows
}

// mariaMistakes looks for the whole table, or a sort of it, in a plan of
// MariaDB's.
func mariaMistakes(plan string) (mistakes []string) {
	var tree any
	if err := json.Unmarshal([]byte(plan), &tree); err != nil {
		return []string{err.Error()}
	}
	var walk func(v any, sorted bool)
	walk = func(v any, sorted bool) {
		switch v := v.(type) {
		case []any:
			for _, below := range v {
				walk(below, sorted)
			}
		case map[string]any:
			if name, _ := v["table_name"].(string); name == "outbox_entries" || name == "e" {
				if access := v["access_type"]; access == "ALL" || access == "index" && v["key"] != "PRIMARY" {
					mistakes = append(mistakes, fmt.Sprintf("it reads the whole table (%v)", access))
				}
				if sorted {
					mistakes = append(mistakes, "it sorts the backlog")
				}
			}
			for key, below := range v {
				walk(below, sorted || key == "filesort" || key == "read_sorted_file")
			}
		}
	}
	walk(tree, false)
	return mistakes
}
