package fidelity_test

import (
	"database/sql"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/shopspring/decimal"
	"gorm.io/datatypes"
)

// ptr returns a pointer to v.
func ptr[T any](v T) *T { return &v }

func kinds() []kind { return slices.Concat(plain(), special(), tagged(), own()) }

// plain are Go's types.
func plain() []kind {
	instants := []time.Time{
		time.Date(2026, 1, 2, 3, 4, 5, 678_901_000, time.UTC), time.Date(2026, 7, 2, 3, 4, 5, 0, time.FixedZone("", -5*3600)),
		time.Date(2026, 1, 2, 3, 4, 5, 999_999_999, time.FixedZone("LMT", 3208)), time.Unix(0, 0),
	}
	texts := []string{"", "a", "Zoë 🛒 \"q\" \\ 'x' <b> \u2028", "2026-01-02 03:04:05", "0012", "NULL", strings.Repeat("aé🛒\t", 1<<17)}
	small, big := int64(math.MinInt64), int64(math.MaxInt64)
	return []kind{
		of("bool", types{"boolean", "boolean", "boolean"}, true, false),
		of("int8", types{"smallint", "tinyint", "tinyint"}, int8(math.MinInt8), 0, math.MaxInt8),
		of("int16", types{"smallint", "smallint", "smallint"}, int16(math.MinInt16), 0, math.MaxInt16),
		of("int32", types{"integer", "int", "int"}, int32(math.MinInt32), 0, math.MaxInt32),
		of("int64", types{"bigint", "bigint", "bigint"}, small, -1, 0, 1<<53+1, big),
		of("int", types{"bigint", "bigint", "integer"}, math.MinInt64, 0, math.MaxInt64),
		of("uint8", types{"smallint", "tinyint unsigned", "tinyint"}, uint8(0), math.MaxUint8),
		of("uint16", types{"integer", "smallint unsigned", "smallint"}, uint16(0), math.MaxUint16),
		of("uint32", types{"bigint", "int unsigned", "integer"}, uint32(0), math.MaxUint32),
		of("uint64", types{"bigint", "bigint unsigned", "integer"}, uint64(0), 1<<53+1, math.MaxInt64),
		of("uint64 beyond int64", types{"numeric(20)", "bigint unsigned", ""}, uint64(math.MaxUint64), math.MaxInt64, math.MaxInt64+1),
		of("float32", types{"real", "float", "real"}, float32(0.1), 1e-38, 3e38, -1, 16_777_217, 0),
		of("float64", types{"double precision", "double", "real"}, 0.1, 5e-324, math.MaxFloat64, -1, 1<<53+1, 3, 1e15, 1e21, 0),
		of("float64 as numeric", types{"numeric", "decimal(30,10)", "numeric"}, 0.1, 3, 1.5, -1e15),
		of("negative zero", types{"double precision", "double", "real"}, math.Copysign(0, -1), 0),
		of("special float64", types{"double precision", "", "real"}, math.Inf(1), math.Inf(-1), 1),
		of("special float32", types{"real", "", "real"}, float32(math.Inf(1)), float32(math.Inf(-1)), 1),
		of("NaN", types{"double precision", "", "real"}, math.NaN(), 1),
		of("string", types{"text", "longtext", "text"}, texts...),
		of("varchar", types{"varchar(40)", "varchar(40)", "varchar(40)"}, "", "a ", " 1e5", "1.50"),
		of("char", types{"char(4)", "char(4)", "char(4)"}, "", "a", "abcd"),
		of("string with NUL", types{"", "text", "text"}, "\x00", "a\x00b"),
		of("invalid UTF-8", types{"", "blob", "text"}, "\xff", "a\xc3"),
		of("[]byte", types{"bytea", "longblob", "blob"}, []byte{}, nil, []byte("a\x00\xff"), []byte("text"), []byte(strings.Repeat("\x00", 1<<20))),
		of("binary", types{"", "binary(4)", ""}, []byte{1, 2}, []byte{0, 0, 0, 0}),
		of("time", types{"timestamptz", "datetime(6)", "datetime"}, instants...),
		of("time without zone", types{"timestamp", "timestamp(6) NULL", "timestamp"}, instants[:2]...),
		of("time by the second", types{"timestamp(0)", "datetime", "datetime"}, instants[:2]...),
		of("date", types{"date", "date", "date"}, instants[:2]...),
		of("year 1 and 9999", types{"timestamptz", "datetime(6)", "datetime"}, time.Date(1, 1, 1, 0, 0, 0, 1000, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)),
		of("zero time", types{"timestamptz", "datetime", "datetime"}, time.Time{}, instants[0]),
		of("year 10000", types{"timestamptz", "", ""}, time.Date(10_000, 1, 2, 3, 4, 5, 6000, time.UTC), time.Date(294_000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(-4000, 1, 1, 0, 0, 0, 0, time.UTC)),
		of("duration", types{"bigint", "bigint", "integer"}, time.Duration(0), time.Nanosecond, -time.Hour),
		of("*bool", types{"boolean", "boolean", "boolean"}, nil, ptr(false), ptr(true)),
		of("*int64", types{"bigint", "bigint", "integer"}, nil, ptr(int64(0)), &big),
		of("*uint64", types{"bigint", "bigint unsigned", "integer"}, nil, ptr(uint64(0)), ptr(uint64(1))),
		of("*float64", types{"double precision", "double", "real"}, nil, ptr(0.0), ptr(0.1)),
		of("*string", types{"text", "text", "text"}, nil, ptr(""), ptr("a")),
		of("*[]byte", types{"bytea", "blob", "blob"}, nil, ptr([]byte{}), ptr([]byte{0})),
		of("*time", types{"timestamptz", "datetime(6)", "datetime"}, nil, &instants[0]),
	}
}

// special are types of the standard library's, GORM's and popular packages.
func special() []kind {
	number := func(text string) decimal.Decimal { return decimal.RequireFromString(text) }
	return []kind{
		of("sql.NullString", types{"text", "text", "text"}, sql.NullString{}, sql.NullString{Valid: true}, sql.NullString{String: "a", Valid: true}),
		of("sql.NullInt64", types{"bigint", "bigint", "integer"}, sql.NullInt64{}, sql.NullInt64{Valid: true}, sql.NullInt64{Int64: math.MaxInt64, Valid: true}),
		of("sql.NullInt32", types{"integer", "int", "integer"}, sql.NullInt32{}, sql.NullInt32{Valid: true}),
		of("sql.NullFloat64", types{"double precision", "double", "real"}, sql.NullFloat64{}, sql.NullFloat64{Valid: true}, sql.NullFloat64{Float64: 0.1, Valid: true}),
		of("sql.NullBool", types{"boolean", "boolean", "boolean"}, sql.NullBool{}, sql.NullBool{Valid: true}, sql.NullBool{Bool: true, Valid: true}),
		of("sql.NullTime", types{"timestamptz", "datetime(6)", "datetime"}, sql.NullTime{}, sql.NullTime{Time: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), Valid: true}),
		of("sql.Null", types{"text", "text", "text"}, sql.Null[string]{}, sql.Null[string]{V: "a", Valid: true}),
		of("decimal", types{"numeric(30,10)", "decimal(30,10)", "text"}, number("0"), number("1.10"), number("12345678901234567890.0123456789")),
		of("decimal of any scale", types{"numeric", "", "text"}, number("1.10"), number("1.1000"), number("100"), number("0.000000000000000000001")),
		of("decimal, null", types{"numeric", "decimal(8,2)", "text"}, decimal.NullDecimal{}, decimal.NewNullDecimal(number("1.10"))),
		of("*decimal", types{"numeric", "decimal(8,2)", "text"}, nil, ptr(number("1.10"))),
		of("uuid", types{"uuid", "char(36)", "text"}, uuid.UUID{}, uuid.MustParse("6ba7b810-9dad-11d1-80b4-00c04fd430c8")),
		of("*uuid", types{"uuid", "char(36)", "text"}, nil, ptr(uuid.UUID{})),
		of("datatypes.UUID", types{"uuid", "char(36)", "text"}, datatypes.UUID{}, datatypes.NewUUIDv1()),
		of("datatypes.BinUUID", types{"bytea", "binary(16)", "blob"}, datatypes.BinUUID{}, datatypes.NewBinUUIDv4()),
		of("datatypes.JSON", types{"json", "json", "json"}, datatypes.JSON(nil), datatypes.JSON("null"), datatypes.JSON(` {"b": [1.10, 9007199254740993], "a": "ü\n"} `)),
		of("datatypes.JSON in jsonb", types{"jsonb", "", "jsonb"}, datatypes.JSON(nil), datatypes.JSON("null"), datatypes.JSON(`{"b":1.10,"a":[]}`)),
		of("datatypes.JSONMap", types{"jsonb", "json", "json"}, datatypes.JSONMap(nil), datatypes.JSONMap{}, datatypes.JSONMap{"a": "b", "n": 1.5}),
		of("datatypes.JSONSlice", types{"jsonb", "json", "json"}, datatypes.JSONSlice[int](nil), datatypes.JSONSlice[int]{}, datatypes.JSONSlice[int]{1, 2}),
		of("datatypes.JSONType", types{"jsonb", "json", "json"}, datatypes.NewJSONType(Point{}), datatypes.NewJSONType(Point{1, 2})),
		of("datatypes.Date", types{"date", "date", "date"}, datatypes.Date(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)), datatypes.Date(time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC))),
		of("datatypes.Time", types{"time", "time(6)", "time"}, datatypes.NewTime(0, 0, 0, 0), datatypes.NewTime(23, 59, 58, 0)),
		of("datatypes.URL", types{"text", "text", "text"}, datatypes.URL{}, datatypes.URL{Scheme: "https", Host: "example.com", Path: "/ä", RawQuery: "a=1"}),
		of("datatypes.Null", types{"bigint", "bigint", "integer"}, datatypes.Null[int64]{}, datatypes.NewNull(int64(0))),
	}
}
