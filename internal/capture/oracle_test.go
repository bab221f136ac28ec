package capture_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/capture"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// change is one row as the oracle (row triggers) or the capture saw it change:
// a table and the values before and after, as texts.
type change struct {
	Seq    int64 `gorm:"primaryKey"`
	Table  string
	Before string
	After  string
}

// oracle makes the tables that the triggers and the hook write to, and the
// triggers.
func oracle(t *testing.T, db *gorm.DB, d testdb.Dialect, models ...any) {
	t.Helper()
	for _, name := range []string{"audit", "captured"} {
		if err := db.Table(name).AutoMigrate(&change{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, table := range tables(t, db, models...) {
		columns, err := db.Migrator().ColumnTypes(table)
		if err != nil {
			t.Fatal(err)
		}
		trigger(t, db, d, table, columns)
	}
}

// tables returns the names of the models' tables, join tables included.
func tables(t *testing.T, db *gorm.DB, models ...any) []string {
	t.Helper()
	var names []string
	for _, m := range models {
		stmt := &gorm.Statement{DB: db}
		if err := stmt.Parse(m); err != nil {
			t.Fatal(err)
		}
		names = append(names, stmt.Schema.Table)
		for _, rel := range stmt.Schema.Relationships.Many2Many {
			names = append(names, rel.JoinTable.Table)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func trigger(t *testing.T, db *gorm.DB, d testdb.Dialect, table string, columns []gorm.ColumnType) {
	t.Helper()
	exec := func(sql string) {
		t.Helper()
		if err := db.Session(&gorm.Session{NewDB: true}).Exec(sql).Error; err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	if d == testdb.Postgres {
		exec(`CREATE OR REPLACE FUNCTION audit_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO audit ("table", before, after) VALUES (TG_ARGV[0], coalesce(CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD)::text END, ''), coalesce(CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW)::text END, ''));
			RETURN NULL; END $$`)
		exec(fmt.Sprintf(`CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON "%s" FOR EACH ROW EXECUTE FUNCTION audit_row('%[1]s')`, table))
		return
	}
	object := func(row string) string {
		var parts []string
		for _, c := range columns {
			value := row + ".`" + c.Name() + "`"
			if typ := strings.ToLower(c.DatabaseTypeName()); strings.Contains(typ, "blob") || strings.Contains(typ, "binary") {
				value = "CASE WHEN " + value + " IS NULL THEN NULL ELSE '\\\\x' || lower(hex(" + value + ")) END"
				if d == testdb.MySQL {
					value = "concat('\\\\x', lower(hex(" + row + ".`" + c.Name() + "`)))"
				} else {
					value = strings.ReplaceAll(value, `\\`, `\`)
				}
			}
			parts = append(parts, "'"+c.Name()+"', "+value)
		}
		return "json_object(" + strings.Join(parts, ", ") + ")"
	}
	for op, images := range map[string][2]string{
		"INSERT": {"''", object("NEW")}, "UPDATE": {object("OLD"), object("NEW")}, "DELETE": {object("OLD"), "''"},
	} {
		insert := fmt.Sprintf("INSERT INTO audit (`table`, `before`, `after`) VALUES ('%s', %s, %s)", table, images[0], images[1])
		if d == testdb.SQLite {
			insert = "BEGIN " + insert + "; END"
		}
		exec(fmt.Sprintf("CREATE TRIGGER `audit_%s_%s` AFTER %s ON `%s` FOR EACH ROW %s", table, strings.ToLower(op), op, table, insert))
	}
}

// hook writes what it is told to the table captured, in the transaction.
type hook struct {
	fail     func(db *gorm.DB, set *capture.Set) error
	refuse   error
	skip     bool
	recorded []bool
	records  int
}

func (h *hook) Watches(*gorm.DB, capture.Operation) (bool, error) { return !h.skip, h.refuse }
func (h *hook) Recorded(committed bool)                           { h.recorded = append(h.recorded, committed) }
func (h *hook) RolledBack(gorm.ConnPool, error)                   {}

func (h *hook) Record(db *gorm.DB, set *capture.Set) (bool, error) {
	h.records++
	if h.fail != nil {
		if err := h.fail(db, set); err != nil {
			return false, err
		}
	}
	if len(set.Rows) == 0 {
		return false, fmt.Errorf("record of no row")
	}
	for _, row := range set.Rows {
		before := texts(set.Columns, row.Old)
		if row.OldUnknown {
			before = "unknown"
		}
		insert := `INSERT INTO captured ("table", before, after) VALUES ($1, $2, $3)`
		if db.Name() != "postgres" {
			insert = "INSERT INTO captured (`table`, `before`, `after`) VALUES (?, ?, ?)"
		}
		if _, err := db.Statement.ConnPool.ExecContext(db.Statement.Context, insert, db.Statement.Schema.Table, before, texts(set.Columns, row.New)); err != nil {
			return false, fmt.Errorf("write the record: %w", err)
		}
	}
	return true, nil
}

func texts(columns []string, values []any) string {
	if values == nil {
		return ""
	}
	doc := make(map[string]any, len(columns))
	for i, column := range columns {
		switch v := values[i].(type) {
		case []byte:
			doc[column] = `\x` + hex.EncodeToString(v)
		case time.Time:
			doc[column] = v.UTC().Format(time.RFC3339Nano)
		default:
			doc[column] = v
		}
	}
	text, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// changes reads a log of changes, in an order and a form that do not depend on
// who wrote it. Rows whose values did not change are left out.
func changes(t *testing.T, db *gorm.DB, log string) []string {
	t.Helper()
	var rows []change
	if err := db.Session(&gorm.Session{NewDB: true}).Table(log).Order("seq").Find(&rows).Error; err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, r := range rows {
		before, after := canonical(t, r.Before), canonical(t, r.After)
		if before == after {
			continue
		}
		list = append(list, r.Table+": "+before+" -> "+after)
	}
	slices.Sort(list)
	return list
}

func canonical(t *testing.T, text string) string {
	t.Helper()
	if text == "" || text == "unknown" {
		return text
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var doc map[string]any
	if err := d.Decode(&doc); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	for column, v := range doc {
		doc[column] = canon(v)
	}
	sorted, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return string(sorted)
}

func canon(v any) any {
	switch v := v.(type) {
	case bool:
		if v {
			return "1"
		}
		return "0"
	case json.Number:
		return canon(v.String())
	case string:
		if strings.HasPrefix(v, "0000-00-00 00:00:00") { // MariaDB's zero; the driver makes it Go's
			return time.Time{}.Format(time.RFC3339Nano)
		}
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02T15:04:05.999999999"} {
			if at, err := time.Parse(layout, v); err == nil {
				return at.UTC().Round(time.Microsecond).Format(time.RFC3339Nano)
			}
		}
		if f, err := strconv.ParseFloat(v, 64); err == nil && len(v) < 16 {
			return strconv.FormatFloat(f, 'g', -1, 64)
		}
		return v
	default:
		return v
	}
}
