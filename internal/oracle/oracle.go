// Package oracle checks what the plugin recorded against what the database did.
//
// Row triggers copy the old and the new row of every change to a shadow table
// with the same column types. Both sides are read by the same driver, so that
// values are compared as they are: no value goes through text or JSON on the
// database's side. See [Log.Diff] for the little that is normalised.
//
// It is for tests only.
package oracle

import (
	"database/sql"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Log is what the triggers of one database saw, beside the outbox that the
// plugin wrote there.
type Log struct {
	pool    *sql.DB
	dialect string // GORM's name for it
	entries string // the outbox's table
	history string // where workers put what is done; "" if none work
	tables  map[string]*table
	models  map[string]*schema.Schema // by the class that entries name
	views   map[string]string         // tables by view
}

// table is a table with triggers.
type table struct {
	name    string
	columns []column
	parts   bool           // it has partitions: a row that moves is deleted and inserted
	schema  *schema.Schema // of the first model over it; nil without one
}

type column struct{ name, typ string }

// Watch puts triggers on every table of db, but for the outbox's own. The
// models, and the join tables between them, are those whose entries can be
// told: an entry's class is the name of the model's type, or of the table if
// that has none. Tables made later are watched from the next [Log.Cover] on.
func Watch(t testing.TB, db *gorm.DB, models ...any) *Log {
	t.Helper()
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	l := &Log{
		pool: pool, dialect: db.Name(), entries: reliable.Tables{}.Entries(),
		tables: make(map[string]*table), models: make(map[string]*schema.Schema), views: make(map[string]string),
	}
	if p, err := reliable.From(db); err == nil {
		l.entries = p.Tables().Entries()
	}
	for _, m := range models {
		stmt := &gorm.Statement{DB: db}
		if err := stmt.Parse(m); err != nil {
			t.Fatal(err)
		}
		l.add(stmt.Schema)
	}
	l.Cover(t)
	return l
}

// add notes a model and its join tables.
func (l *Log) add(s *schema.Schema) {
	class := s.Name
	if class == "" {
		class = s.Table
	}
	if l.models[class] != nil {
		return
	}
	l.models[class] = s
	for _, r := range s.Relationships.Relations {
		if r.JoinTable != nil {
			l.add(r.JoinTable)
			l.models[r.JoinTable.Table] = r.JoinTable
		}
	}
}

// View says that a view's rows are those of a table: a write through it is
// seen there.
func (l *Log) View(view, table string) {
	l.views[view] = table
	if tab := l.tables[table]; tab != nil && tab.schema == nil {
		tab.schema = l.schemaOf(view)
	}
}

// Worked says that workers work on the entries: what is done is in the history.
func (l *Log) Worked() { l.history = reliable.Tables{}.History() }

// Reset forgets all changes, and deletes all entries.
func (l *Log) Reset(t testing.TB) {
	t.Helper()
	tx, err := l.pool.BeginTx(t.Context(), nil) // one commit, not one per table
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	for name := range l.tables {
		if _, err := tx.ExecContext(t.Context(), "DELETE FROM "+l.quote(shadow(name))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tx.ExecContext(t.Context(), "DELETE FROM "+l.entries); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

func (l *Log) exec(t testing.TB, statement string) {
	t.Helper()
	if _, err := l.pool.ExecContext(t.Context(), statement); err != nil {
		t.Fatalf("oracle: %s: %v", statement, err)
	}
}

func (l *Log) quote(name string) string {
	if l.dialect == "postgres" {
		return `"` + name + `"`
	}
	return "`" + name + "`"
}

// schemaOf returns the first model over a table, or nil.
func (l *Log) schemaOf(name string) *schema.Schema {
	var found *schema.Schema
	for _, s := range l.models {
		if s.Table == name && (found == nil || len(s.DBNames) > len(found.DBNames)) {
			found = s
		}
	}
	return found
}
