package fidelity_test

import (
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/shopspring/decimal"
	"gorm.io/datatypes"
	"gorm.io/gorm/schema"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// Keyed is a row whose primary key is a K.
type Keyed[K any] struct {
	Key K `gorm:"primaryKey;autoIncrement:false"`
	V   string
}

// TableName implements gorm's schema.TablerWithNamer.
func (Keyed[K]) TableName(n schema.Namer) string { return n.TableName("cell") }

// Pair is a row whose primary key is an A and a B.
type Pair[A, B any] struct {
	A A `gorm:"primaryKey;autoIncrement:false"`
	B B `gorm:"primaryKey;autoIncrement:false"`
	V string
}

// TableName implements gorm's schema.TablerWithNamer.
func (Pair[A, B]) TableName(n schema.Namer) string { return n.TableName("cell") }

// Code is a key of a type of one's own.
type Code struct{ letter, number string }

// Value implements [driver.Valuer].
func (c Code) Value() (driver.Value, error) { return c.letter + c.number, nil }

// Scan implements [sql.Scanner].
func (c *Code) Scan(value any) error {
	switch v := value.(type) {
	case string:
		c.letter, c.number = v[:1], v[1:]
	case []byte:
		return c.Scan(string(v))
	default:
		return fmt.Errorf("code of %T", value)
	}
	return nil
}

// key is a kind of primary key, and rows that differ in it.
func key[M any](name string, columns types, rows ...M) kind {
	return kind{name, columns, func(t *testing.T, base testdb.DB, prefix, columns string) {
		l, rows := newLab[M](t, base, prefix), slices.Clone(rows)
		if err := l.db.Exec(fmt.Sprintf("CREATE TABLE %scells (%s)", prefix, columns)).Error; err != nil {
			t.Fatal(err)
		}
		for i := range rows {
			if err := l.db.Create(&rows[i]).Error; err != nil {
				t.Fatal(err)
			}
		}
		created := entries(t, l.db)
		ids := make(map[string]bool)
		for _, e := range created {
			ids[e.ResourceID] = true
		}
		if len(created) != len(rows) || len(ids) != len(rows) {
			t.Errorf("%d entries with %d resource ids, want %d: %v", len(created), len(ids), len(rows), ids)
		}
		for i, s := range l.replay(t, created) {
			row := l.read(t, &rows[i])
			if !l.equal(s.model, row) || !l.equal(s.after, row) {
				t.Errorf("create of %+v: callback got %+v, after %+v", row, s.model, s.after)
			}
			if s.gone {
				t.Errorf("create of %+v: gone", row)
			}
		}
		for i := range rows {
			before := l.read(t, &rows[i])
			if err := l.db.Model(&rows[i]).Update("v", "changed").Error; err != nil {
				t.Fatal(err)
			}
			after := l.read(t, &rows[i])
			l.check(t, "update", l.replay(t, entries(t, l.db)), before, after, true)
			if err := l.db.Delete(&rows[i]).Error; err != nil {
				t.Fatal(err)
			}
			l.check(t, "delete", l.replay(t, entries(t, l.db)), after, nil, true)
		}
	}}
}

func single[K any](name string, column types, keys ...K) kind {
	rows := make([]Keyed[K], len(keys))
	for i, k := range keys {
		rows[i] = Keyed[K]{k, fmt.Sprint("value ", i)}
	}
	for _, c := range []*string{&column.postgres, &column.mariadb, &column.sqlite} {
		if *c != "" {
			*c = "`key` " + *c + " PRIMARY KEY, v text"
		}
	}
	column.postgres = strings.ReplaceAll(column.postgres, "`", `"`)
	return key(name, column, rows...)
}

func TestKeys(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	kinds := []kind{
		single("int64", types{"bigint", "bigint", "integer"}, int64(-1), 1, 1<<53+1),
		single("int8", types{"smallint", "tinyint", "integer"}, int8(-128), 1, 127),
		single("uint64", types{"numeric(20)", "bigint unsigned", ""}, uint64(1), 1<<63, 1<<64-1),
		single("float64", types{"double precision", "double", "real"}, 0.1, -1.5, 1e21),
		single("string", types{"text", "varchar(300)", "text"}, "a", "A\u0301", `\x61`, `\s61`, `["a"]`, strings.Repeat("long ", 60)),
		single("string with NUL", types{"", "varbinary(20)", "text"}, "\x00", "\x00\x00", "\ufffd", "a\x00"),
		single("invalid UTF-8", types{"", "varbinary(20)", "text"}, "\xff", `\sff`, "\xfe", "\ufffd", "a\xff"),
		single("[]byte", types{"bytea", "varbinary(20)", "blob"}, []byte("a"), []byte{0}, []byte{255}, []byte{254}, []byte(`\x61`)),
		single("uuid", types{"uuid", "char(36)", "text"}, uuid.UUID{1}, uuid.UUID{2}),
		single("binary uuid", types{"bytea", "binary(16)", "blob"}, datatypes.BinUUID{1}, datatypes.BinUUID{255}),
		single("time", types{"timestamptz", "datetime(6)", "datetime"}, at, at.Add(time.Microsecond), at.AddDate(-1, 0, 0)),
		single("decimal", types{"numeric(10,2)", "decimal(10,2)", "text"}, decimal.RequireFromString("1.10"), decimal.RequireFromString("1.11")),
		single("type of one's own", types{"text", "varchar(20)", "text"}, Code{"a", "1"}, Code{"a", "2"}, Code{"b", "1"}),
		key("composite", types{
			"a text, b bigint, v text, PRIMARY KEY (a, b)", "a varchar(20), b bigint, v text, PRIMARY KEY (a, b)", "a text, b bigint, v text, PRIMARY KEY (a, b)",
		}, Pair[string, int64]{"a", 1, "v"}, Pair[string, int64]{"a", 11, "w"}, Pair[string, int64]{`a","1`, 1, "x"}, Pair[string, int64]{"a1", 1, "y"}),
		key("composite of bytes", types{
			"a bytea, b bytea, v text, PRIMARY KEY (a, b)", "a varbinary(20), b varbinary(20), v text, PRIMARY KEY (a, b)", "a blob, b blob, v text, PRIMARY KEY (a, b)",
		}, Pair[[]byte, []byte]{[]byte{255}, []byte{254}, "v"}, Pair[[]byte, []byte]{[]byte{255}, []byte{253}, "w"}, Pair[[]byte, []byte]{[]byte("ab"), []byte("c"), "x"}, Pair[[]byte, []byte]{[]byte("a"), []byte("bc"), "y"}),
		key("composite of invalid UTF-8", types{
			"", "a varbinary(20), b varbinary(20), v text, PRIMARY KEY (a, b)", "a text, b text, v text, PRIMARY KEY (a, b)",
		}, Pair[string, string]{"\xff", "x", "v"}, Pair[string, string]{"\xfe", "x", "w"}),
		key("composite of one's own", types{
			"a text, b bigint, v text, PRIMARY KEY (a, b)", "a varchar(20), b bigint, v text, PRIMARY KEY (a, b)", "a text, b bigint, v text, PRIMARY KEY (a, b)",
		}, Pair[Code, uint]{Code{"a", "1"}, 1, "v"}, Pair[Code, uint]{Code{"a", "2"}, 1, "w"}),
	}
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		base := migrated(t, d)
		for i, k := range kinds {
			if columns := k.types.of(d); columns != "" {
				t.Run(k.name, func(t *testing.T) { k.run(t, base, fmt.Sprintf("k%d_", i), columns) })
			}
		}
	})
}
