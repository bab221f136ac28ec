package oracle

import (
	"fmt"
	"strings"
	"testing"
)

// sequence gives the changes of all tables one order.
const sequence = "oracle_changes"

// shadow is the table that a table's changes are copied to.
func shadow(name string) string { return "oracle_" + name }

// Cover puts triggers on the tables that have none yet.
func (l *Log) Cover(t testing.TB) {
	t.Helper()
	switch l.dialect {
	case "sqlite":
		l.exec(t, "CREATE TABLE IF NOT EXISTS "+sequence+" (seq INTEGER PRIMARY KEY AUTOINCREMENT)")
	default:
		l.exec(t, "CREATE SEQUENCE IF NOT EXISTS "+sequence)
	}
	for name, parts := range l.list(t) {
		if l.tables[name] != nil {
			continue
		}
		tab := &table{name: name, parts: parts, columns: l.columns(t, name), schema: l.schemaOf(name)}
		l.tables[name] = tab
		l.shadow(t, tab)
		l.trigger(t, tab)
	}
}

// list returns the tables of the database, but for the outbox's and the
// oracle's, and whether each has partitions.
func (l *Log) list(t testing.TB) map[string]bool {
	t.Helper()
	query := map[string]string{
		"postgres": "SELECT relname, relkind = 'p' FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition",
		"mysql":    "SELECT table_name, 0 FROM information_schema.tables WHERE table_schema = database() AND table_type = 'BASE TABLE'",
		"sqlite":   "SELECT name, 0 FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
	}[l.dialect]
	rows, err := l.pool.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	prefix := strings.TrimSuffix(l.entries, "entries")
	prefix = prefix[strings.LastIndexByte(prefix, '.')+1:]
	found := make(map[string]bool)
	for rows.Next() {
		var name string
		var parts bool
		if err := rows.Scan(&name, &parts); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(name, prefix) && !strings.HasPrefix(name, "oracle_") {
			found[name] = parts
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}

// columns returns a table's columns. SQLite tells their declared types, which
// decide what its driver makes of a value.
func (l *Log) columns(t testing.TB, name string) []column {
	t.Helper()
	query := "SELECT * FROM " + l.quote(name) + " WHERE 1 = 0"
	if l.dialect == "sqlite" {
		query = "SELECT name, type FROM pragma_table_xinfo('" + name + "')"
	}
	rows, err := l.pool.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var found []column
	if l.dialect != "sqlite" {
		names, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			found = append(found, column{name: name})
		}
	}
	for rows.Next() {
		var c column
		if err := rows.Scan(&c.name, &c.typ); err != nil {
			t.Fatal(err)
		}
		found = append(found, c)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}

// shadow makes the table of a table's changes: seq, op, then each column before
// and after. The outer join on PostgreSQL and MariaDB is for columns that may
// be NULL.
func (l *Log) shadow(t testing.TB, tab *table) {
	t.Helper()
	var parts []string
	if l.dialect == "sqlite" {
		for _, side := range []string{"old", "new"} {
			for _, c := range tab.columns {
				parts = append(parts, l.quote(side+"_"+c.name)+" "+c.typ)
			}
		}
		l.exec(t, fmt.Sprintf("CREATE TABLE %s (seq INTEGER, op TEXT, %s)", l.quote(shadow(tab.name)), strings.Join(parts, ", ")))
		return
	}
	for _, side := range []string{"old", "new"} {
		for _, c := range tab.columns {
			parts = append(parts, side+"_."+l.quote(c.name)+" AS "+l.quote(side+"_"+c.name))
		}
	}
	l.exec(t, fmt.Sprintf("CREATE TABLE %s AS SELECT one.seq, one.op, %s FROM (SELECT cast(0 AS %s) AS seq, cast('' AS char(60)) AS op) AS one "+
		"LEFT JOIN %s AS old_ ON 1 = 0 LEFT JOIN %[4]s AS new_ ON 1 = 0 WHERE 1 = 0",
		l.quote(shadow(tab.name)), strings.Join(parts, ", "), map[string]string{"postgres": "bigint", "mysql": "signed"}[l.dialect], l.quote(tab.name)))
}

// trigger copies a table's changes, each in the transaction that makes it. On
// PostgreSQL op also tells one statement from the next.
func (l *Log) trigger(t testing.TB, tab *table) {
	t.Helper()
	values := func(row string) string {
		var list []string
		for _, c := range tab.columns {
			if row == "" {
				list = append(list, "NULL")
			} else {
				list = append(list, row+"."+l.quote(c.name))
			}
		}
		return strings.Join(list, ", ")
	}
	if l.dialect == "postgres" { // in an INSERT, OLD is a row of NULLs
		var space string
		if err := l.pool.QueryRowContext(t.Context(), "SELECT quote_ident(current_schema())").Scan(&space); err != nil {
			t.Fatal(err)
		}
		function := space + "." + l.quote(shadow(tab.name))
		l.exec(t, fmt.Sprintf("CREATE FUNCTION %s() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN "+
			"INSERT INTO %[1]s VALUES (nextval('%[2]s.%[3]s'), TG_OP || ' ' || statement_timestamp(), %[4]s, %[5]s); RETURN NULL; END $$", function, space, sequence, values("OLD"), values("NEW")))
		l.exec(t, fmt.Sprintf("CREATE TRIGGER oracle AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION %s()", l.quote(tab.name), function))
		return
	}
	for _, op := range []struct{ name, before, after string }{{"INSERT", "", "NEW"}, {"UPDATE", "OLD", "NEW"}, {"DELETE", "OLD", ""}} {
		copied := func(seq string) string {
			return fmt.Sprintf("INSERT INTO %s VALUES (%s, '%s', %s, %s)", l.quote(shadow(tab.name)), seq, op.name, values(op.before), values(op.after))
		}
		body := copied("NEXTVAL(" + sequence + ")")
		if l.dialect == "sqlite" {
			body = "BEGIN INSERT INTO " + sequence + " VALUES (NULL); " + copied("last_insert_rowid()") + "; END"
		}
		l.exec(t, fmt.Sprintf("CREATE TRIGGER %s AFTER %s ON %s FOR EACH ROW %s",
			l.quote("oracle_"+tab.name+"_"+strings.ToLower(op.name)), op.name, l.quote(tab.name), body))
	}
}
