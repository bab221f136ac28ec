package programs_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-aftercommit/aftercommit/internal/oracle"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// recorded is the context of the entries that programs record themselves.
const recorded = "programs"

// lab has the models' tables twice: with the plugin and row triggers, and
// without. All programs of a test run in one.
type lab struct {
	dialect  testdb.Dialect
	now      time.Time // of GORM's clock
	captured *gorm.DB
	plain    *gorm.DB
	log      *oracle.Log
	tables   []string // of the models, join tables included, in an order for inserts
	resetted int

	drawnFirst map[string]int64 // MariaDB's next keys, by table, before the first program
}

func newLab(t *testing.T, d testdb.Dialect) *lab {
	t.Helper()
	l := &lab{dialect: d, now: start()}
	open := func() *gorm.DB {
		db := testdb.New(t, d).Open(t, &gorm.Config{NowFunc: func() time.Time { return l.now }, Logger: logger.Discard, PrepareStmtMaxSize: 50})
		if err := db.AutoMigrate(models()...); err != nil {
			t.Fatal(err)
		}
		for _, rows := range seed() {
			if err := db.Session(&gorm.Session{SkipHooks: true}).Create(rows).Error; err != nil {
				t.Fatal(err)
			}
		}
		return db
	}
	l.captured, l.plain = open(), open()
	for _, m := range models() {
		stmt := &gorm.Statement{DB: l.plain}
		if err := stmt.Parse(m); err != nil {
			t.Fatal(err)
		}
		l.tables = append(l.tables, stmt.Schema.Table)
	}
	l.tables = append(l.tables, "author_tags")
	r := new(reliable.Registry)
	pass := reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error { return nil })
	r.Handle(reliable.ContextModel, "audit", pass)
	r.Handle(recorded, "audit", pass)
	if err := errors.Join(l.captured.Use(reliable.New(reliable.Config{Registry: r, AllModels: true})), migrations.Up(t.Context(), l.captured)); err != nil {
		t.Fatal(err)
	}
	l.log = oracle.Watch(t, l.captured, models()...)
	oracle.Watch(t, l.plain, models()...) // with triggers MariaDB draws other keys
	for _, db := range []*gorm.DB{l.captured, l.plain} {
		for _, table := range l.tables {
			l.exec(t, db, "CREATE TABLE seed_"+table+" AS SELECT * FROM "+table)
		}
		if err := reliable.Skip(db).AutoMigrate(&mark{}); err != nil {
			t.Fatal(err)
		}
	}
	if d == testdb.MySQL {
		l.drawnFirst = l.drawn(t, l.plain)
	}
	return l
}

// mark is where a program recorded an entry itself.
type mark struct {
	ID uint
	N  int
}

func (l *lab) exec(t testing.TB, db *gorm.DB, statements ...string) {
	t.Helper()
	err := reliable.Skip(db).Connection(func(tx *gorm.DB) error {
		for _, statement := range statements {
			if _, err := tx.Statement.ConnPool.ExecContext(t.Context(), statement); err != nil {
				return fmt.Errorf("%s: %w", statement, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// reset gives both databases the rows that a program starts with. Tables are
// emptied so that rows lie, and keys are drawn, in the same order in both.
func (l *lab) reset(t testing.TB) {
	t.Helper()
	for _, db := range []*gorm.DB{l.captured, l.plain} {
		l.exec(t, db, l.resets(t, db)...)
	}
	l.resetted++
}

func (l *lab) resets(t testing.TB, db *gorm.DB) []string {
	var list []string
	add := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	emptied := append(slices.Clone(l.tables), "marks")
	switch l.dialect {
	case testdb.Postgres:
		if l.resetted%20 == 0 { // it is slow; without it space is used again, and rows lie in another order
			add("TRUNCATE %s", strings.Join(emptied, ", "))
		}
		add("BEGIN")
		for _, table := range slices.Backward(emptied) {
			add("DELETE FROM %s", table)
		}
	case testdb.MySQL:
		add("SET foreign_key_checks = 0")
		drawn := l.drawn(t, db)
		for _, table := range emptied {
			if drawn[table] == l.drawnFirst[table] {
				add("DELETE FROM %s", table) // which is much faster
			} else {
				add("TRUNCATE %s", table)
			}
		}
		add("SET foreign_key_checks = 1")
		add("BEGIN")
	case testdb.SQLite:
		add("BEGIN IMMEDIATE")
		for _, table := range slices.Backward(emptied) {
			add("DELETE FROM %s", table)
		}
		add("DELETE FROM sqlite_sequence WHERE name NOT LIKE 'outbox%%'")
	}
	for _, table := range l.tables {
		add("INSERT INTO %s SELECT * FROM seed_%[1]s", table)
	}
	if l.dialect == testdb.Postgres {
		for _, table := range []string{"publishers", "authors", "profiles", "books", "parts"} {
			add("SELECT setval('%s_id_seq', max(id)) FROM %[1]s", table)
		}
		add("SELECT setval('marks_id_seq', 1, false)")
	}
	for _, table := range l.tables {
		add("DELETE FROM oracle_%s", table)
	}
	if db == l.captured {
		add("DELETE FROM outbox_entries")
	}
	add("COMMIT")
	return list
}

// drawn returns MariaDB's next keys by table.
func (l *lab) drawn(t testing.TB, db *gorm.DB) map[string]int64 {
	t.Helper()
	var rows []struct {
		Name string
		Next int64
	}
	if err := reliable.Skip(db).Raw("SELECT table_name AS name, coalesce(auto_increment, 0) AS next FROM information_schema.tables WHERE table_schema = database()").
		Scan(&rows).Error; err != nil {
		t.Fatal(err)
	}
	next := make(map[string]int64, len(rows))
	for _, row := range rows {
		next[row.Name] = row.Next
	}
	return next
}

// contents dumps the tables, rows sorted.
func (l *lab) contents(t testing.TB, db *gorm.DB) string {
	t.Helper()
	var all []string
	for _, name := range append(slices.Clone(l.tables), "marks") {
		var rows []map[string]any
		if err := reliable.Skip(db).Table(name).Find(&rows).Error; err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			all = append(all, fmt.Sprintf("%s %v", name, row))
		}
	}
	return sortedLines(all)
}

// marked returns what programs recorded themselves, as marked and as in the
// outbox.
func (l *lab) marked(t testing.TB) (marks, entries string) {
	t.Helper()
	var ns, names []string
	db := reliable.Skip(l.captured)
	if err := errors.Join(
		db.Model(&mark{}).Order("id").Pluck("n", &ns).Error,
		db.Table("outbox_entries").Where("context = ?", recorded).Order("id").Pluck("event_name", &names).Error,
	); err != nil {
		t.Fatal(err)
	}
	return strings.Join(ns, " "), strings.Join(names, " ")
}

// mark notes an entry that the program recorded itself.
func (m *machine) mark(tx *gorm.DB, n int) error {
	_, err := tx.Statement.ConnPool.ExecContext(tx.Statement.Context, fmt.Sprintf("INSERT INTO marks (n) VALUES (%d)", n))
	return err
}

// transaction is the plugin's where it is installed, else GORM's.
func (m *machine) transaction(db *gorm.DB, fn func(tx *gorm.DB) error, opts ...*sql.TxOptions) error {
	if m.captured {
		return reliable.Transaction(db, fn, opts...)
	}
	return db.Transaction(fn, opts...)
}

// unrecorded runs a write that is not to be recorded, and has the oracle forget
// it, in the transaction that it runs in.
func (m *machine) unrecorded(db *gorm.DB, write func(db *gorm.DB) error) error {
	if !m.captured {
		return write(db)
	}
	last := m.last(db)
	err := write(db)
	for _, table := range m.lab.tables {
		if _, failed := db.Statement.ConnPool.ExecContext(context.WithoutCancel(db.Statement.Context),
			fmt.Sprintf("DELETE FROM oracle_%s WHERE seq > %d", table, last)); failed != nil {
			break // the transaction is lost, and the write with it
		}
	}
	return err
}

// last returns the number of the last change that the oracle saw.
func (m *machine) last(db *gorm.DB) (n int64) {
	var parts []string
	for _, table := range m.lab.tables {
		parts = append(parts, "SELECT max(seq) AS seq FROM oracle_"+table)
	}
	rows, err := db.Statement.ConnPool.QueryContext(context.WithoutCancel(db.Statement.Context),
		"SELECT coalesce(max(seq), 0) FROM ("+strings.Join(parts, " UNION ALL ")+") AS changes")
	if err != nil { // the transaction is lost
		return 0
	}
	defer func() { _ = rows.Close() }()
	if rows.Next() {
		err = rows.Scan(&n)
	}
	if err = errors.Join(err, rows.Err()); err != nil {
		return 0
	}
	return n
}
