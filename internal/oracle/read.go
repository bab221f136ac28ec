package oracle

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gorm.io/gorm/schema"

	"github.com/gorm-aftercommit/aftercommit/internal/codec"
)

// change is what the triggers saw of one row.
type change struct {
	seq      int64
	table    *table
	op       string // INSERT, UPDATE or DELETE, and on PostgreSQL the time of the statement
	old, new image  // nil where there is none
}

// image is a row by column.
type image map[string]any

// entry is what the plugin recorded of one row.
type entry struct {
	class, id, event string
	table            string
	schema           *schema.Schema // nil: the class is not known
	set              codec.Changeset
}

// changes reads the log, in its order.
func (l *Log) changes(t testing.TB) []change {
	t.Helper()
	var all []change
	for _, tab := range l.tables {
		all = append(all, l.changesOf(t, tab)...)
	}
	slices.SortFunc(all, func(a, b change) int { return int(a.seq - b.seq) })
	return all
}

func (l *Log) changesOf(t testing.TB, tab *table) []change {
	t.Helper()
	// With a variable MariaDB answers by the binary protocol, which has types.
	query := "SELECT * FROM " + l.quote(shadow(tab.name)) + " WHERE seq > ? ORDER BY seq"
	if l.dialect == "postgres" {
		query = strings.ReplaceAll(query, "?", "$1")
	}
	rows, err := l.pool.QueryContext(t.Context(), query, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	types, err := rows.ColumnTypes()
	if err != nil {
		t.Fatal(err)
	}
	var found []change
	for rows.Next() {
		values := make([]any, len(types))
		targets := make([]any, len(types))
		for i := range values {
			targets[i] = &values[i]
		}
		if err := rows.Scan(targets...); err != nil {
			t.Fatal(err)
		}
		c := change{table: tab, op: strings.TrimSpace(fmt.Sprintf("%s", values[1]))}
		c.seq, _ = values[0].(int64)
		if !strings.HasPrefix(c.op, "INSERT") {
			c.old = l.image(tab, values[2:], types[2:])
		}
		if n := len(tab.columns); !strings.HasPrefix(c.op, "DELETE") {
			c.new = l.image(tab, values[2+n:], types[2+n:])
		}
		if last := len(found) - 1; tab.parts && last >= 0 && found[last].new == nil && c.old == nil && c.op[len("INSERT"):] == found[last].op[len("DELETE"):] {
			found[last].op, found[last].new = "UPDATE", c.new // it moved to another partition
			continue
		}
		found = append(found, c)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}

// image makes a row of values. MariaDB's driver delivers text as bytes; bytes
// they stay only where the type is binary.
func (l *Log) image(tab *table, values []any, types []*sql.ColumnType) image {
	row := make(image, len(tab.columns))
	for i, c := range tab.columns {
		v := values[i]
		if text, ok := v.([]byte); ok && l.dialect == "mysql" {
			switch typ := types[i].DatabaseTypeName(); {
			case strings.HasSuffix(typ, "BLOB"), strings.HasSuffix(typ, "BINARY"), typ == "BIT", typ == "GEOMETRY":
			default:
				v = string(text)
			}
		}
		row[c.name] = v
	}
	return row
}

// recorded reads the outbox, in the order of ids.
func (l *Log) recorded(t testing.TB) []entry {
	t.Helper()
	columns := "SELECT resource_class, resource_id, event_name, changeset, id FROM "
	from := columns + l.entries
	if l.history != "" {
		from += " UNION ALL " + columns + l.history
	}
	rows, err := l.pool.QueryContext(t.Context(), "SELECT * FROM ("+from+") e WHERE changeset IS NOT NULL ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var found []entry
	for rows.Next() {
		var e entry
		var changeset []byte
		var id int64
		if err := rows.Scan(&e.class, &e.id, &e.event, &changeset, &id); err != nil {
			t.Fatal(err)
		}
		if e.set, err = codec.Decode(changeset); err != nil {
			t.Fatalf("oracle: entry of %s %s: %v", e.class, e.id, err)
		}
		e.table = e.class
		if e.schema = l.models[e.class]; e.schema != nil {
			e.table = e.schema.Table
		}
		if over, ok := l.views[e.table]; ok {
			e.table = over
		}
		found = append(found, e)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}
