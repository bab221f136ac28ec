package codec_test

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/gorm-aftercommit/aftercommit/internal/codec"
)

// value draws a driver value of any type.
func value(t *rapid.T, label string) any {
	switch rapid.IntRange(0, 8).Draw(t, label+" type") {
	case 0:
		return nil
	case 1:
		return rapid.Bool().Draw(t, label)
	case 2:
		return rapid.Int64().Draw(t, label)
	case 3:
		return rapid.Uint64().Draw(t, label)
	case 4:
		return rapid.Float32().Draw(t, label)
	case 5:
		return rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1), math.Copysign(0, -1), 3, 1e300, 5e-324})).Draw(t, label)
	case 6:
		return rapid.OneOf(rapid.String(), rapid.Just("\x00"), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, label)
	case 7:
		return append([]byte{}, rapid.SliceOf(rapid.Byte()).Draw(t, label)...)
	default:
		zone := time.FixedZone("", rapid.IntRange(-100_000, 100_000).Draw(t, label+" zone"))
		return time.Unix(rapid.Int64Range(-1<<38, 1<<39).Draw(t, label), rapid.Int64Range(0, 999_999_999).Draw(t, label+" ns")).In(zone)
	}
}

// same fails the test unless two changesets are.
func same(t interface{ Fatalf(string, ...any) }, got, want codec.Changeset) {
	if len(got.Key) != len(want.Key) || len(got.Columns) != len(want.Columns) || got.SoftDeleted != want.SoftDeleted ||
		!slices.Equal(slices.Sorted(slices.Values(got.Sensitive)), slices.Sorted(slices.Values(want.Sensitive))) || got.Restored != want.Restored || got.OldUnknown != want.OldUnknown {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	for i, column := range want.Key {
		if got.Key[i].Name != column.Name || !codec.Equal(got.Key[i].Value, column.Value) {
			t.Fatalf("key came back as %#v, want %#v", got.Key[i], column)
		}
	}
	for name, p := range want.Columns {
		if g := got.Columns[name]; !codec.Equal(g.Old, p.Old) || !codec.Equal(g.New, p.New) {
			t.Fatalf("column %q came back as %#v, want %#v", name, g, p)
		}
	}
}

func TestRoundTrip(t *testing.T) { rapid.Check(t, roundTrip) }

func FuzzRoundTrip(f *testing.F) { f.Fuzz(rapid.MakeFuzz(roundTrip)) }

// What is encoded is valid JSON in UTF-8 without NUL, and is decoded to what
// it was (70).
func roundTrip(t *rapid.T) {
	c := codec.Changeset{
		Columns:     map[string]codec.Pair{},
		SoftDeleted: rapid.Bool().Draw(t, "soft"), Restored: rapid.Bool().Draw(t, "restored"), OldUnknown: rapid.Bool().Draw(t, "unknown"),
	}
	for range rapid.IntRange(0, 6).Draw(t, "columns") {
		name := rapid.String().Draw(t, "name")
		if _, ok := c.Columns[name]; !ok && rapid.Bool().Draw(t, "sensitive") {
			c.Sensitive = append(c.Sensitive, name)
		}
		c.Columns[name] = codec.Pair{Old: value(t, "old"), New: value(t, "new")}
		if _, ok := c.Key.Get(name); !ok {
			c.Key = append(c.Key, codec.Column{Name: name, Value: value(t, "key")})
		}
	}
	data, err := codec.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	if !utf8.Valid(data) || bytes.ContainsRune(data, 0) || !json.Valid(data) {
		t.Fatalf("Encode() = %q, want JSON in UTF-8 without NUL", data)
	}
	got, err := codec.Decode(data)
	if err != nil {
		t.Fatalf("Decode(%s): %v", data, err)
	}
	same(t, got, c)
	head, err := codec.DecodeHead(data)
	if err != nil {
		t.Fatalf("DecodeHead(%s): %v", data, err)
	}
	if shown, err := codec.Encode(c.Readable()); err != nil || !json.Valid(shown) {
		t.Fatalf("Encode(Readable()) = %q, %v", shown, err)
	}
	c.Columns = nil
	same(t, head, c)
}

// The format is frozen: entries outlive the binary that wrote them (63).
func TestGolden(t *testing.T) {
	c := codec.Changeset{
		Key: codec.Key{{"id", int64(7)}, {"part", "a/b"}},
		Columns: map[string]codec.Pair{
			"active":  {Old: false, New: true},
			"big":     {Old: int64(math.MinInt64), New: uint64(math.MaxUint64)},
			"far":     {Old: time.Date(12026, 1, 2, 3, 4, 5, 600, time.UTC), New: time.Date(-1, 1, 2, 3, 4, 5, 0, time.UTC)},
			"mixed":   {Old: "YQ==", New: []byte("a")},
			"note":    {Old: "a\x00<b>\"ü", New: "\xff"},
			"paid_at": {New: time.Date(2026, 1, 2, 3, 4, 5, 600, time.FixedZone("", 5400))},
			"photo":   {Old: []byte("a\xff"), New: nil},
			"ratio":   {Old: 1.0, New: math.Inf(1)},
			"solar":   {Old: math.NaN(), New: time.Date(1880, 1, 1, 0, 0, 0, 0, time.FixedZone("LMT", 3208))},
			"total":   {Old: int64(100), New: int64(200)},
		},
		Sensitive: []string{"total", "note"}, SoftDeleted: true, Restored: true, OldUnknown: true,
	}
	const want = `{"v":1,"key":{"id":7,"part":"a/b"},"set":{"active":[false,true],"big":[-9223372036854775808,18446744073709551615],` +
		`"far":[{"t":"@317336843045.000000600"},{"t":"@-62198657755.000000000"}],"mixed":["YQ==",{"b":"YQ=="}],"note":["a\u0000<b>\"ü",{"s":"/w=="}],` +
		`"paid_at":[null,{"t":"2026-01-02T03:04:05.0000006+01:30"}],"photo":[{"b":"Yf8="},null],"ratio":[1.0,{"f":"Infinity"}],` +
		`"solar":[{"f":"NaN"},{"t":"1879-12-31T23:06:32Z"}],"total":[100,200]},"sensitive":["note","total"],"soft_deleted":true,"restored":true,"old_unknown":true}`
	data, err := codec.Encode(c)
	if err != nil || string(data) != want {
		t.Errorf("Encode() = %s, %v\nwant %s", data, err, want)
	}
	got, err := codec.Decode([]byte(want))
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, c)
	const shown = `{"v":1,"key":{"id":7,"part":"a/b"},"set":{"active":[false,true],"big":[-9223372036854775808,18446744073709551615],` +
		`"far":["12026-01-02T03:04:05.0000006Z","-0001-01-02T03:04:05Z"],"mixed":["YQ==","a"],"note":["[masked]","[masked]"],` +
		`"paid_at":[null,"2026-01-02T03:04:05.0000006+01:30"],"photo":["\\x61ff",null],"ratio":[1.0,"Infinity"],` +
		`"solar":["NaN","1879-12-31T23:06:32Z"],"total":["[masked]","[masked]"]},"sensitive":["note","total"],"soft_deleted":true,"restored":true,"old_unknown":true}`
	if data, err = codec.Encode(got.Readable()); err != nil || string(data) != shown {
		t.Errorf("Encode(Readable()) = %s, %v\nwant %s", data, err, shown)
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []codec.Changeset{
		{Key: codec.Key{{"id", struct{}{}}}},
		{Columns: map[string]codec.Pair{"id": {New: 1}}},
		{Key: codec.Key{{"id\xff", nil}}},
		{Columns: map[string]codec.Pair{"id\xff": {}}},
	} {
		if data, err := codec.Encode(c); err == nil || !strings.Contains(err.Error(), "id") {
			t.Errorf("Encode() = %s, %v, want an error that names the column", data, err)
		}
	}
	for _, bad := range []string{
		``, `{}`, `[]`, `{"v":2}`, `{"v":1} x`, `{"v":1}{}`, `{"v":1`, `{"v":1,}`, `{"v":1,"v":1}`, `{"v":1,"x":nul}`, `{"v":1,"soft_deleted":1}`,
		`{"v":1,"key":{"a":1,"a":1}}`, `{"v":1,"key":{"a":01}}`, `{"v":1,"key":{"a":[]}}`, `{"v":1,"key":{"a":{}}}`, `{"v":1,"key":{"a":{"t":"x"}}}`,
		`{"v":1,"key":{"a":{"b":"!"}}}`, `{"v":1,"key":{"a":{"f":"1"}}}`, `{"v":1,"key":{"a":{"x":"1"}}}`, `{"v":1,"key":{"a":{"b":"","b":""}}}`,
		`{"v":1,"key":{"a":99999999999999999999}}`, "{\"v\":1,\"key\":{\"a\":\"\xff\"}}", "{\"v\":1,\"key\":{\"a\":\"\n\"}}", `{"v":1,"key":{"a":"}`,
		`{"v":1,"x":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`,
	} {
		if c, err := codec.DecodeHead([]byte(bad)); err == nil {
			t.Errorf("DecodeHead(%s) = %v, want an error", bad, c)
		}
		if c, err := codec.Decode([]byte(bad)); err == nil {
			t.Errorf("Decode(%s) = %v, want an error", bad, c)
		}
	}
	for _, bad := range []string{`{"v":1,"set":{"a":[1]}}`, `{"v":1,"set":{"a":[1,2,3]}}`, `{"v":1,"set":{"a":[1,2],"a":[1,2]}}`, `{"v":1,"set":{"a":1}}`} {
		if c, err := codec.Decode([]byte(bad)); err == nil || !strings.Contains(err.Error(), "column a") {
			t.Errorf("Decode(%s) = %v, %v, want an error that names the column", bad, c, err)
		}
	}
	if c, err := codec.Decode([]byte(` { "v" : 1 , "new" : { "a" : [ ] , "b" : [ 1 , "x" ] } , "key" : { "id" : 7 } } `)); err != nil || c.Key[0].Value != int64(7) {
		t.Errorf("Decode() = %v, %v, want the members that are known", c, err)
	}
}

// What Decode takes, Encode writes, and it is the same (74).
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"v":1,"key":{"id":7},"set":{"a":[1.5,"x"],"b":[{"t":"2026-01-02T03:04:05Z"},{"b":"AA=="}]},"restored":true}`))
	f.Add([]byte(`{"v":1,"set":{"a":[{"f":"NaN"},{"s":"/w=="}],"ü":[18446744073709551615,{"t":"@317336843045.000000600"}]},"sensitive":["a"],"old_unknown":true,"new":[[{}],null]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := codec.Decode(data)
		if err != nil {
			return
		}
		again, err := codec.Encode(c)
		if err != nil {
			t.Fatalf("Encode(Decode(%q)): %v", data, err)
		}
		got, err := codec.Decode(again)
		if err != nil {
			t.Fatalf("Decode(%s): %v", again, err)
		}
		same(t, got, c)
	})
}
