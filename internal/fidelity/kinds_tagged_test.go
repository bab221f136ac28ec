package fidelity_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"
	"gorm.io/plugin/soft_delete"
)

// Point is a struct of no database's.
type Point struct {
	X float64
	Y float64 `json:"-"` // a user's tag decides how it is written
}

// Money is a Valuer and Scanner by value: "EUR 1.10".
type Money struct {
	Currency string
	Cents    int64
}

// Value implements [driver.Valuer].
func (m Money) Value() (driver.Value, error) {
	return fmt.Sprintf("%s %d", m.Currency, m.Cents), nil
}

// Scan implements [sql.Scanner]. Like many, it knows texts as its own database
// delivers them.
func (m *Money) Scan(value any) error {
	var text string
	switch v := value.(type) {
	case string:
		text = v
	case []byte:
		text = string(v)
	default:
		return fmt.Errorf("money of %T", value)
	}
	_, err := fmt.Sscanf(text, "%s %d", &m.Currency, &m.Cents)
	return err
}

// Bytes is a Scanner that takes nothing but []byte, as MariaDB's driver
// delivers any text.
type Bytes struct{ Text string }

// Value implements [driver.Valuer].
func (b Bytes) Value() (driver.Value, error) { return b.Text, nil }

// Scan implements [sql.Scanner].
func (b *Bytes) Scan(value any) error {
	data, ok := value.([]byte)
	if !ok {
		return fmt.Errorf("want []byte, got %T", value)
	}
	b.Text = string(data)
	return nil
}

// Strings is a Scanner that takes nothing but a string, as the drivers of
// PostgreSQL and SQLite deliver any text.
type Strings []string

// GormDataType implements gorm's schema.GormDataTypeInterface.
func (Strings) GormDataType() string { return "text" }

// Value implements [driver.Valuer].
func (s Strings) Value() (driver.Value, error) {
	if s == nil {
		return nil, nil
	}
	return strings.Join(s, ","), nil
}

// Scan implements [sql.Scanner].
func (s *Strings) Scan(value any) error {
	switch v := value.(type) {
	case nil:
		*s = nil
	case string:
		*s = strings.Split(v, ",")
	default:
		return fmt.Errorf("want string, got %T", value)
	}
	return nil
}

// Level is a Valuer by pointer; its values are numbers in the database.
type Level string

// Value implements [driver.Valuer].
func (l *Level) Value() (driver.Value, error) {
	if l == nil {
		return nil, nil
	}
	return int64(len(*l)), nil
}

// Scan implements [sql.Scanner].
func (l *Level) Scan(value any) error {
	n, ok := value.(int64)
	if !ok {
		return fmt.Errorf("want int64, got %T", value)
	}
	*l = Level(strings.Repeat("*", int(n)))
	return nil
}

// Reverse is a serializer of GORM's that takes nothing but text.
type Reverse struct{}

// Scan implements [schema.SerializerInterface].
func (Reverse) Scan(ctx context.Context, field *schema.Field, dst reflect.Value, value any) error {
	var text []rune
	switch v := value.(type) {
	case nil:
		return field.Set(ctx, dst, nil)
	case string:
		text = []rune(v)
	case []byte:
		text = []rune(string(v))
	default:
		return errors.New("not a text")
	}
	for i, j := 0, len(text)-1; i < j; i, j = i+1, j-1 {
		text[i], text[j] = text[j], text[i]
	}
	field.ReflectValueOf(ctx, dst).SetString(string(text))
	return nil
}

// Value implements [schema.SerializerValuerInterface].
func (Reverse) Value(_ context.Context, _ *schema.Field, _ reflect.Value, value any) (any, error) {
	text := []rune(value.(string))
	for i, j := 0, len(text)-1; i < j; i, j = i+1, j-1 {
		text[i], text[j] = text[j], text[i]
	}
	return string(text), nil
}

// Rows of one value with a tag.
type (
	inJSON struct {
		ID int64
		V  map[string]Point `gorm:"serializer:json"`
	}
	inGob struct {
		ID int64
		V  []Point `gorm:"serializer:gob"`
	}
	inUnixtime struct {
		ID int64
		V  int64 `gorm:"serializer:unixtime;type:timestamptz"`
	}
	inReverse struct {
		ID int64
		V  string `gorm:"serializer:reverse"`
	}
	softly struct {
		ID        int64
		V         string
		DeletedAt gorm.DeletedAt
	}
	flagged struct {
		ID   int64
		V    string
		Gone soft_delete.DeletedAt `gorm:"softDelete:flag"`
	}
	address struct {
		City string
		Zip  *string
		Seen time.Time
	}
	embeds struct {
		ID int64
		V  address  `gorm:"embedded;embeddedPrefix:v_"`
		W  *address `gorm:"embedded;embeddedPrefix:w_"`
	}
	// withDefault has values that the database gives.
	withDefault struct {
		ID        int64
		V         int64 `gorm:"default:7"`
		Twice     int64 `gorm:"->"`
		CreatedAt time.Time
		UpdatedAt int64 `gorm:"autoUpdateTime:nano"`
	}
)

// TableName implements gorm's schema.TablerWithNamer.
func (inJSON) TableName(n schema.Namer) string      { return n.TableName("cell") }
func (inGob) TableName(n schema.Namer) string       { return n.TableName("cell") }
func (inUnixtime) TableName(n schema.Namer) string  { return n.TableName("cell") }
func (inReverse) TableName(n schema.Namer) string   { return n.TableName("cell") }
func (softly) TableName(n schema.Namer) string      { return n.TableName("cell") }
func (flagged) TableName(n schema.Namer) string     { return n.TableName("cell") }
func (embeds) TableName(n schema.Namer) string      { return n.TableName("cell") }
func (withDefault) TableName(n schema.Namer) string { return n.TableName("cell") }

// tagged are kinds that a tag of GORM's makes, and users' own types.
func tagged() []kind {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	return []kind{
		in("serializer json", types{"text", "text", "text"}, inJSON{}, inJSON{V: map[string]Point{}}, inJSON{V: map[string]Point{"ä": {X: 1.5, Y: 2}}}),
		in("serializer json in jsonb", types{"jsonb", "json", "blob"}, inJSON{}, inJSON{V: map[string]Point{"ä": {X: 1.5}}}),
		in("serializer gob", types{"bytea", "blob", "blob"}, inGob{}, inGob{V: []Point{{1, 2}}}),
		in("serializer unixtime", types{"timestamptz", "datetime", "datetime"}, inUnixtime{V: 1}, inUnixtime{V: 1_800_000_000}),
		in("serializer of one's own", types{"text", "text", "text"}, inReverse{V: ""}, inReverse{V: "abcä"}),
		in("gorm.DeletedAt", types{"text, deleted_at timestamptz", "text, deleted_at datetime(6)", "text, deleted_at datetime"},
			softly{V: "a"}, softly{V: "b"}),
		in("soft_delete flag", types{"text, gone bigint", "text, gone bigint", "text, gone bigint"}, flagged{V: "a"}, flagged{V: "b"}),
		in("embedded", types{
			"int, v_city text, v_zip text, v_seen timestamptz, w_city text, w_zip text, w_seen timestamptz",
			"int, v_city text, v_zip text, v_seen datetime(6), w_city text, w_zip text, w_seen datetime(6)",
			"int, v_city text, v_zip text, v_seen datetime, w_city text, w_zip text, w_seen datetime",
		}, embeds{V: address{Seen: at}}, embeds{V: address{"a", ptr(""), at}, W: &address{Seen: at}}, embeds{V: address{"b", nil, at}, W: &address{"c", ptr("d"), at}}),
		in("default, generated and touched", types{
			"bigint DEFAULT 7, twice bigint GENERATED ALWAYS AS (v * 2) STORED, created_at timestamptz, updated_at bigint",
			"bigint DEFAULT 7, twice bigint GENERATED ALWAYS AS (v * 2) STORED, created_at datetime, updated_at bigint",
			"bigint DEFAULT 7, twice bigint GENERATED ALWAYS AS (v * 2) STORED, created_at datetime, updated_at bigint",
		}, withDefault{}, withDefault{V: 3}),
		of("Valuer by value", types{"text", "text", "text"}, Money{"EUR", 110}, Money{"JPY", -1}),
		of("pointer to a Valuer", types{"text", "text", "text"}, nil, &Money{"EUR", 110}),
		of("Valuer by pointer", types{"integer", "int", "integer"}, ptr(Level("**")), nil, ptr(Level(""))),
		of("Scanner of bytes", types{"", "text", ""}, Bytes{"a"}, Bytes{"ü"}),
		of("Scanner of strings", types{"text", "", "text"}, Strings{"a", "b"}, nil),
	}
}

// own are the databases' own types.
func own() []kind {
	return []kind{
		of("smallserial to uint", types{"smallint", "", ""}, uint(7), 9),
		of("text[]", types{"text[]", "", ""}, `{}`, `{a,NULL,"b c","\"\\"}`),
		of("int[]", types{"bigint[]", "", ""}, `{9223372036854775807,NULL}`, `{{1},{2}}`),
		of("interval", types{"interval", "", ""}, "1 mon 2 days 03:04:05.000006", "-00:00:01"),
		of("inet", types{"inet", "", ""}, "192.168.0.1/24", "::1"),
		of("macaddr", types{"macaddr", "", ""}, "08:00:2b:01:02:03", "00:00:00:00:00:00"),
		of("range", types{"int4range", "", ""}, "[1,5)", "empty"),
		of("tsvector", types{"tsvector", "", ""}, "'a':1", ""),
		of("bit", types{"bit varying(9)", "", ""}, "101", ""),
		of("money", types{"money", "", ""}, "$1,234.56", "-$0.01"),
		of("numeric NaN and infinity", types{"numeric", "", ""}, "NaN", "Infinity", "-Infinity", "1.10"),
		of("timetz", types{"timetz", "", ""}, "03:04:05.000006+01:30", "00:00:00+00"),
		of("xml", types{"xml", "", ""}, "<a>ü</a>", "<b/>"),
		of("point", types{"point", "", ""}, "(1.5,-2)", "(0,0)"),
		of("string in a binary column", types{"", "varbinary(9)", "blob"}, "\x00\xff", "a"),
		of("ENUM", types{"", "ENUM('a','ü','')", ""}, "a", "ü", ""),
		of("SET", types{"", "SET('a','b')", ""}, "", "a", "a,b"),
		of("BIT(1)", types{"", "BIT(1)", ""}, []byte{1}, []byte{0}),
		of("BIT(64)", types{"", "BIT(64)", ""}, []byte{255, 0, 0, 0, 0, 0, 0, 1}, []byte{0, 0, 0, 0, 0, 0, 0, 0}),
		of("YEAR", types{"", "YEAR", ""}, 2026, 1901, 0),
		of("TIME", types{"", "TIME(6)", ""}, "-838:59:58.000001", "00:00:00"),
		of("MEDIUMINT", types{"", "MEDIUMINT UNSIGNED", ""}, uint32(1<<24-1), 0),
		of("TINYINT(1)", types{"", "TINYINT(1)", ""}, int64(-128), 0, 1, 127),
		of("INET6", types{"", "INET6", ""}, "::1", "2001:db8::ff"),
		of("latin1", types{"", "varchar(9) CHARACTER SET latin1", ""}, "ü", ""),
		of("text in a blob", types{"", "", "blob"}, "text", "\xff"),
		of("text in an integer column", types{"", "", "integer"}, "abc", "12", "1.5"),
		of("number in a text column", types{"", "", "text"}, 12, 13),
		of("number in a numeric column", types{"", "", "numeric"}, "1", "1.5", "text", "9223372036854775807"),
		of("bool as text", types{"text", "text", "text"}, "true", "false"),
		of("bool in an integer column", types{"", "int", "integer"}, true, false),
		of("time as text", types{"", "", "text"}, "2026-01-02 03:04:05.000006+00:00", "2026-01-02"),
	}
}
