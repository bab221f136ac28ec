package capture_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"
	"gorm.io/gorm/schema"

	triggers "github.com/gorm-aftercommit/aftercommit/internal/oracle"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// pgLab is a PostgreSQL schema with tables made by hand, twice: with the plugin
// and plain.
type pgLab struct {
	db, plain           *gorm.DB
	dbAdmin, plainAdmin *gorm.DB // the same schemas, as their owner
	log                 *triggers.Log
}

// newPGLab makes the tables of T. In ddl, and in the prefix of T's tables,
// $schema stands for the schema's name. If ddl names $role, the writer has that
// role, and the rights that ddl gives it.
func newPGLab[T any](t *testing.T, ddl, prefix string) *pgLab {
	t.Helper()
	l := new(pgLab)
	var name string
	l.plain, l.plainAdmin, _ = pgSchema(t, ddl, prefix)
	l.db, l.dbAdmin, name = pgSchema(t, ddl, prefix)
	use[T](t, l.db)
	l.log = triggers.Watch(t, l.dbAdmin, new(T))
	if prefix != "" {
		l.log.View(name+".things", "things")
	}
	return l
}

// pgSchema makes a schema, and opens it for the writer and for its owner.
func pgSchema(t *testing.T, ddl, prefix string) (db, admin *gorm.DB, name string) {
	t.Helper()
	place := testdb.New(t, testdb.Postgres)
	admin = place.Open(t)
	if err := admin.Raw("SELECT current_schema()").Scan(&name).Error; err != nil {
		t.Fatal(err)
	}
	if err := migrations.Up(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(ddl, "$role") {
		role := name + "_role"
		execute(t, admin, "CREATE ROLE "+role)
		t.Cleanup(func() {
			execute(t, admin, "DROP OWNED BY "+role)
			execute(t, admin, "DROP ROLE "+role)
		})
		place.URL += "&role=" + role
		ddl = "GRANT USAGE ON SCHEMA $schema TO $role;\nGRANT INSERT, SELECT ON outbox_entries TO $role;\n" + ddl
		ddl = strings.ReplaceAll(ddl, "$role", role)
	}
	for statement := range strings.SplitSeq(ddl, ";\n") {
		execute(t, admin, strings.ReplaceAll(statement, "$schema", name))
	}
	return place.Open(t, &gorm.Config{
		Logger: logger.Discard, NamingStrategy: schema.NamingStrategy{TablePrefix: strings.ReplaceAll(prefix, "$schema", name)},
	}), admin, name
}

// use installs the plugin, which records every write of a T.
func use[T any](t *testing.T, db *gorm.DB) {
	t.Helper()
	r := new(reliable.Registry)
	reliable.Register(r, reliable.Model[T]{})
	r.Handle(reliable.ContextModel, "audit", reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error { return nil }))
	if err := db.Use(reliable.New(reliable.Config{Registry: r, MaxRows: 20000})); err != nil {
		t.Fatal(err)
	}
}

func execute(t *testing.T, db *gorm.DB, statement string) {
	t.Helper()
	if err := db.Session(&gorm.Session{NewDB: true}).Exec(statement).Error; err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// nameless is the name of a test's schema, which errors tell.
var nameless = regexp.MustCompile(`reliable_test_[0-9]+_[a-z0-9]{12}`)

// shown renders what a writer sees.
func shown(tx *gorm.DB, models ...any) string {
	text := fmt.Sprintf("%d rows, error %v", tx.RowsAffected, tx.Error)
	for _, m := range models {
		text += fmt.Sprintf("\n%+v", m)
	}
	return text
}

// replacing returns a clause that updates a column on a conflict.
func replacing(column string, on ...string) clause.OnConflict {
	c := clause.OnConflict{DoUpdates: clause.AssignmentColumns([]string{column})}
	for _, name := range on {
		c.Columns = append(c.Columns, clause.Column{Name: name})
	}
	return c
}

// step is a write, and how many rows it changes.
type step struct {
	name  string
	write func(db *gorm.DB) string
	rows  int
}

// run makes each write with the plugin and without. The writer sees the same,
// the tables hold the same, and the entries are what the triggers saw.
func (l *pgLab) run(t *testing.T, tables []string, steps ...step) {
	t.Helper()
	for _, s := range steps {
		l.log.Reset(t)
		got, want := s.write(l.db.Session(&gorm.Session{})), s.write(l.plain.Session(&gorm.Session{}))
		if diff := cmp.Diff(nameless.ReplaceAllString(want, ""), nameless.ReplaceAllString(got, "")); diff != "" {
			t.Errorf("%s: seen by the writer: -plain +captured\n%s", s.name, diff)
		}
		for _, table := range tables {
			if diff := cmp.Diff(dump(t, l.plainAdmin, table), dump(t, l.dbAdmin, table)); diff != "" {
				t.Errorf("%s: %s: -plain +captured\n%s", s.name, table, diff)
			}
		}
		if diff := l.log.Diff(t); diff != "" {
			t.Errorf("%s: -triggers +entries\n%s", s.name, diff)
		}
		if n := len(l.log.Changes(t)); n != s.rows {
			t.Errorf("%s: %d rows changed, want %d: seen by the writer: %s", s.name, n, s.rows, got)
		}
	}
}

func dump(t *testing.T, db *gorm.DB, table string) (rows []string) {
	t.Helper()
	if err := db.Raw("SELECT to_jsonb(t)::text FROM " + table + " t ORDER BY 1").Scan(&rows).Error; err != nil {
		t.Fatal(err)
	}
	return rows
}
