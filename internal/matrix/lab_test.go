package matrix_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-aftercommit/aftercommit/internal/oracle"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// lab is two databases with the same tables and rows, one with the plugin.
type lab struct {
	dialect testdb.Dialect
	within  bool     // scenarios run in reliable.Transaction, or without the plugin in db.Transaction
	db      *gorm.DB // with the plugin
	plain   *gorm.DB
	log     *oracle.Log // of db
	tables  []string    // parents first
}

// migrated are the models whose tables GORM makes, parents first.
func migrated() []any {
	return []any{
		&Company{}, &User{}, &Profile{}, &Pet{}, &Toy{}, &Language{}, &Seat{}, &Part{}, &Order{}, &Line{}, &Tag{}, &Person{}, &Address{},
		&Parent{}, &Child{}, &Hooked{}, &Memo{}, &Parcel{}, &Stamp{}, &Source{}, &UnixRow{}, &MilliRow{}, &NanoRow{}, &FlagRow{}, &MixedRow{}, &ZeroRow{},
	}
}

// handmade are those whose tables it can't make.
func handmade(d testdb.Dialect) []any {
	switch d {
	case testdb.Postgres:
		return []any{&Voucher{}, &BigPart{}, &Reading{}}
	case testdb.MySQL:
		return []any{&Voucher{}, &BigPart{}}
	default:
		return []any{&Voucher{}}
	}
}

// ddl makes the tables, views and triggers that GORM can't make.
func ddl(d testdb.Dialect) []string {
	const archive = "CREATE TABLE archived_parts AS SELECT * FROM parts WHERE 1 = 0"
	switch d {
	case testdb.Postgres:
		return []string{
			archive,
			"CREATE TABLE vouchers (id varchar(36) PRIMARY KEY DEFAULT gen_random_uuid(), name varchar(20))",
			"CREATE VIEW big_parts AS SELECT * FROM parts WHERE qty > 1",
			"CREATE TABLE readings (region varchar(8), id bigint, qty bigint, PRIMARY KEY (region, id)) PARTITION BY LIST (region)",
			"CREATE TABLE readings_north PARTITION OF readings FOR VALUES IN ('north')",
			"CREATE TABLE readings_south PARTITION OF readings FOR VALUES IN ('south')",
			"CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.rank < 0 THEN RETURN NULL; END IF; NEW.name = upper(NEW.name); RETURN NEW; END $$",
			"CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON stamps FOR EACH ROW EXECUTE FUNCTION stamp()",
			"CREATE FUNCTION source() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO parts (parts, qty) VALUES (0, NEW.qty); RETURN NULL; END $$",
			"CREATE TRIGGER source AFTER INSERT ON sources FOR EACH ROW EXECUTE FUNCTION source()",
		}
	case testdb.MySQL:
		return []string{
			archive,
			"CREATE TABLE vouchers (id varchar(36) PRIMARY KEY DEFAULT uuid(), name varchar(20))",
			"CREATE VIEW big_parts AS SELECT * FROM parts WHERE qty > 1",
			"CREATE TRIGGER stamp_insert BEFORE INSERT ON stamps FOR EACH ROW SET NEW.name = upper(NEW.name)",
			"CREATE TRIGGER stamp_update BEFORE UPDATE ON stamps FOR EACH ROW SET NEW.name = upper(NEW.name)",
			"CREATE TRIGGER source AFTER INSERT ON sources FOR EACH ROW INSERT INTO parts (parts, qty) VALUES (0, NEW.qty)",
		}
	default:
		return []string{
			archive,
			"CREATE TABLE vouchers (id varchar(36) PRIMARY KEY DEFAULT (lower(hex(randomblob(16)))), name varchar(20))",
			"CREATE TRIGGER source AFTER INSERT ON sources BEGIN INSERT INTO parts (parts, qty) VALUES (0, NEW.qty); END",
		}
	}
}

// newLab makes both databases. A loose one lets through what can't be recorded.
func newLab(t *testing.T, d testdb.Dialect, config gorm.Config, loose bool) *lab {
	t.Helper()
	config.NowFunc, config.Logger = noon, logger.Discard
	l := &lab{dialect: d}
	for _, db := range []**gorm.DB{&l.db, &l.plain} {
		fresh := config
		*db = testdb.New(t, d).Open(t, &fresh)
		if err := errors.Join((*db).SetupJoinTable(&Person{}, "Addresses", &PersonAddress{}), (*db).AutoMigrate(migrated()...)); err != nil {
			t.Fatal(err)
		}
		for _, statement := range ddl(d) {
			if err := (*db).Exec(statement).Error; err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		}
	}
	names, err := l.plain.Migrator().GetTables()
	if err != nil {
		t.Fatal(err)
	}
	l.tables = l.order(t, names)
	if err := errors.Join(l.db.Use(reliable.New(reliable.Config{Registry: registry(), AllModels: true, AllowUncaptured: loose, MaxRows: 100})), migrations.Up(t.Context(), l.db)); err != nil {
		t.Fatal(err)
	}
	l.log = oracle.Watch(t, l.db, slices.Concat(migrated(), handmade(d), []any{&PersonAddress{}, &CompanyName{}})...)
	l.log.View("big_parts", "parts")
	return l
}

// order sorts tables so that those that others refer to come first.
func (l *lab) order(t *testing.T, names []string) []string {
	t.Helper()
	slices.Sort(names)
	names = slices.DeleteFunc(names, func(name string) bool { return name == "sqlite_sequence" })
	var sorted []string
	add := func(name string) {
		if slices.Contains(names, name) && !slices.Contains(sorted, name) {
			sorted = append(sorted, name)
		}
	}
	for _, m := range migrated() {
		stmt := &gorm.Statement{DB: l.plain}
		if err := stmt.Parse(m); err != nil {
			t.Fatal(err)
		}
		add(stmt.Schema.Table)
	}
	for _, name := range names { // join tables last
		add(name)
	}
	return sorted
}

// firstID is the first key that the database generates. Rows with a given one
// have smaller keys.
const firstID = 1000

// reset gives both databases the same rows.
func (l *lab) reset(t *testing.T) {
	t.Helper()
	for _, db := range []*gorm.DB{l.db, l.plain} {
		err := reliable.Skip(db).Transaction(func(tx *gorm.DB) error {
			for _, name := range slices.Backward(l.tables) {
				if err := tx.Exec("DELETE FROM " + tx.Statement.Quote(name)).Error; err != nil {
					return err
				}
			}
			return errors.Join(seed(tx), l.firstKeys(tx))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if l.dialect == testdb.MySQL {
		l.samePlace(t)
	}
	l.log.Reset(t)
}

// firstKeys has keys be generated from firstID on.
func (l *lab) firstKeys(tx *gorm.DB) error {
	switch l.dialect {
	case testdb.Postgres:
		return tx.Exec("SELECT setval(s.seqrelid, ?, false) FROM pg_sequence AS s JOIN pg_class AS c ON c.oid = s.seqrelid "+
			"WHERE c.relnamespace = current_schema()::regnamespace AND c.relname NOT LIKE 'o%'", firstID).Error
	case testdb.SQLite:
		return tx.Exec("UPDATE sqlite_sequence SET seq = ? WHERE name NOT LIKE 'outbox%'", firstID-1).Error
	default:
		return nil
	}
}

// samePlace has both databases go on with the same keys, where they don't: on
// MariaDB it takes too long to start anew.
func (l *lab) samePlace(t *testing.T) {
	t.Helper()
	next := func(db *gorm.DB) map[string]int {
		var rows []struct {
			Name string
			Next int
		}
		if err := db.Raw("SELECT table_name AS name, auto_increment AS next FROM information_schema.tables WHERE table_schema = database() AND auto_increment IS NOT NULL AND table_name IN ?",
			l.tables).Scan(&rows).Error; err != nil {
			t.Fatal(err)
		}
		found := make(map[string]int)
		for _, row := range rows {
			if found[row.Name] = row.Next; row.Next < firstID {
				found[row.Name] = 0
			}
		}
		return found
	}
	ours, theirs := next(l.db), next(l.plain)
	for name, n := range ours {
		if n == theirs[name] && n > 0 {
			continue
		}
		for _, db := range []*gorm.DB{reliable.Skip(l.db), l.plain} {
			if err := db.Exec(fmt.Sprintf("ALTER TABLE %s AUTO_INCREMENT = %d", db.Statement.Quote(name), max(n, theirs[name], firstID))).Error; err != nil {
				t.Fatal(err)
			}
		}
	}
}

// run runs a scenario on one of the two databases.
func (l *lab) run(s scenario, db *gorm.DB) (got string) {
	db = db.Session(&gorm.Session{})
	if !l.within {
		return s.run(db)
	}
	fn := func(tx *gorm.DB) error { got = s.run(tx); return nil }
	var err error
	if _, without := reliable.From(db); without != nil {
		err = db.Transaction(fn)
	} else {
		err = reliable.Transaction(db, fn)
	}
	return fmt.Sprint(got, ", committed: ", err == nil) // with which error depends on what was waiting
}

// contents dumps the tables.
func (l *lab) contents(t *testing.T, db *gorm.DB) []string {
	t.Helper()
	var all []string
	for _, name := range l.tables {
		var rows []map[string]any
		if err := db.Session(&gorm.Session{NewDB: true}).Table(name).Find(&rows).Error; err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			all = append(all, scrub(fmt.Sprintf("%s %v", name, row)))
		}
	}
	slices.Sort(all)
	return all
}
