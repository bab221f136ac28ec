package capture_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// explainer keeps the statements that are sent to the table of things.
type explainer struct{ calls []pgx.TraceQueryStartData }

// explain returns how a statement is run.
func explain(t *testing.T, db *gorm.DB, call pgx.TraceQueryStartData) string {
	t.Helper()
	args := slices.DeleteFunc(slices.Clone(call.Args), func(v any) bool { _, ok := v.(pgx.QueryResultFormatsByOID); return ok })
	rows, err := db.Statement.ConnPool.QueryContext(t.Context(), "EXPLAIN "+call.SQL, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var plan, line string
	for rows.Next() {
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		plan += line + "\n"
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return plan
}

func (e *explainer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if strings.Contains(data.SQL, `"things"`) && !strings.Contains(data.SQL, "pg_attribute") && !strings.HasPrefix(data.SQL, "EXPLAIN") {
		e.calls = append(e.calls, data)
	}
	return ctx
}

func (e *explainer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// A captured write finds its rows by the index that the write alone would use.
func TestPostgresPlans(t *testing.T) {
	l := newPGLab[Thing](t, "CREATE TABLE things (id int PRIMARY KEY, name text, qty int, UNIQUE (name));\nCREATE INDEX things_qty ON things (qty);\n"+
		"CREATE TABLE picks (id int PRIMARY KEY, thing int);\nINSERT INTO picks SELECT n, n * 7 FROM generate_series(1, 5) n;\n"+
		"INSERT INTO things SELECT n, 'n' || n, n FROM generate_series(1, 20000) n;\nANALYZE things;\nANALYZE picks", "")
	config, err := pgx.ParseConfig(l.dbAdmin.Dialector.(*postgres.Dialector).DSN)
	if err != nil {
		t.Fatal(err)
	}
	trace := new(explainer)
	config.Tracer = trace
	pool := stdlib.OpenDB(*config)
	t.Cleanup(func() { _ = pool.Close() })
	db, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}))
	if err != nil {
		t.Fatal(err)
	}
	use[Thing](t, db)
	for name, write := range map[string]func(tx *gorm.DB) error{
		"by key": func(tx *gorm.DB) error { return tx.Model(&Thing{ID: 77}).Update("qty", 1).Error },
		"by range": func(tx *gorm.DB) error {
			return tx.Model(&Thing{}).Where("id <= ?", 100).Update("name", gorm.Expr("name || 'x'")).Error
		},
		"by index": func(tx *gorm.DB) error {
			return tx.Model(&Thing{}).Where("qty BETWEEN ? AND ?", 50, 90).Update("qty", 60).Error
		},
		"by a query": func(tx *gorm.DB) error {
			return tx.Model(&Thing{}).Where("id IN (?)", tx.Table("picks").Select("thing")).Update("qty", 5).Error
		},
		"delete": func(tx *gorm.DB) error { return tx.Where("qty = ?", 500).Delete(&Thing{}).Error },
		"upsert": func(tx *gorm.DB) error {
			return tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&Thing{ID: 9, Name: "u"}).Error
		},
	} {
		trace.calls = nil
		tx := db.Begin()
		if err := write(tx); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		calls := trace.calls
		if len(calls) != 1 {
			t.Errorf("%s: %d statements on the table, want 1: %v", name, len(calls), calls)
		}
		for _, call := range calls {
			if plan := explain(t, db, call); strings.Contains(plan, "Seq Scan on things") {
				t.Errorf("%s reads the whole table: %s\n%s", name, call.SQL, plan)
			}
		}
		tx.Rollback()
	}
}
