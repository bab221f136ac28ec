package codec_test

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/gorm-aftercommit/aftercommit/internal/codec"
)

// value draws a driver value of the kind that a column has.
func value(t *rapid.T, kind int, label string) any {
	if rapid.IntRange(0, 5).Draw(t, label+" null") == 0 {
		return nil
	}
	switch kind {
	case 0:
		return rapid.Bool().Draw(t, label)
	case 1:
		return rapid.Int64().Draw(t, label)
	case 2:
		return rapid.OneOf(rapid.Float64(), rapid.Just(math.NaN()), rapid.Just(math.Inf(-1)), rapid.Just(math.Copysign(0, -1)), rapid.Just(3.0)).Draw(t, label)
	case 3:
		return rapid.String().Draw(t, label)
	case 4:
		return string(rapid.SliceOf(rapid.Byte()).Draw(t, label))
	case 5:
		return append([]byte{}, rapid.SliceOf(rapid.Byte()).Draw(t, label)...)
	default:
		zone := time.FixedZone("", 60*rapid.IntRange(-700, 700).Draw(t, label+" zone"))
		return time.Unix(rapid.Int64Range(-1<<38, 1<<39).Draw(t, label), rapid.Int64Range(0, 999_999_999).Draw(t, label+" ns")).In(zone)
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := codec.Changeset{Key: map[string]any{}, Columns: map[string]codec.Pair{}, SoftDeleted: rapid.Bool().Draw(t, "soft")}
		for range rapid.IntRange(0, 6).Draw(t, "columns") {
			name, kind := rapid.StringMatching(`[a-zä"]{1,8}`).Draw(t, "name"), rapid.IntRange(0, 6).Draw(t, "kind")
			c.Columns[name] = codec.Pair{Old: value(t, kind, "old"), New: value(t, kind, "new")}
			c.Key[name] = c.Columns[name].New
		}
		data, err := codec.Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		if !utf8.Valid(data) || bytes.ContainsRune(data, 0) {
			t.Fatalf("Encode() = %q, want UTF-8 without NUL", data)
		}
		got, err := codec.Decode(data)
		if err != nil {
			t.Fatalf("Decode(%s): %v", data, err)
		}
		for name, want := range c.Columns {
			if p := got.Columns[name]; !codec.Equal(p.Old, want.Old) || !codec.Equal(p.New, want.New) || !codec.Equal(got.Key[name], want.New) {
				t.Fatalf("column %q came back as %v, want %v, from %s", name, p, want, data)
			}
		}
		if got.SoftDeleted != c.SoftDeleted || len(got.Columns) != len(c.Columns) {
			t.Fatalf("Decode() = %+v, want %+v", got, c)
		}
	})
}

func TestGolden(t *testing.T) {
	c := codec.Changeset{
		Key: map[string]any{"id": int64(7)},
		Columns: map[string]codec.Pair{
			"total":   {Old: int64(100), New: int64(200)},
			"paid_at": {New: time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)},
			"ratio":   {Old: 1.0, New: math.Inf(1)},
			"photo":   {Old: []byte("a"), New: nil},
			"note":    {Old: "a\x00<b>", New: "\xff"},
		},
		Restored: true,
	}
	const want = `{"v":1,"key":{"id":7},"set":{"note":["YQA8Yj4=","/w=="],"paid_at":[null,"2026-01-02T03:04:05.0000006Z"],"photo":["YQ==",null],` +
		`"ratio":[1,"Infinity"],"total":[100,200]},"types":{"note":"s","paid_at":"t","photo":"b","ratio":"f"},"restored":true}`
	data, err := codec.Encode(c)
	if err != nil || string(data) != want {
		t.Errorf("Encode() = %s, %v\nwant %s", data, err, want)
	}
}

func TestRefusals(t *testing.T) {
	if _, err := codec.Encode(codec.Changeset{Key: map[string]any{"id": struct{}{}}}); err == nil || !strings.Contains(err.Error(), "column id") {
		t.Errorf("Encode() = %v, want an error that names the column", err)
	}
	for _, bad := range []string{``, `{}`, `{"v":2}`, `{"v":1} x`, `{"v":1,"set":{"a":[1]}}`, `{"v":1,"set":{"a":[{},1]}}`, `{"v":1,"key":{"a":"x"},"types":{"a":"t"}}`} {
		if c, err := codec.Decode([]byte(bad)); err == nil {
			t.Errorf("Decode(%s) = %v, want an error", bad, c)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"v":1,"key":{"id":7},"set":{"a":[1,"x"]},"types":{"b":"t"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := codec.Decode(data)
		if err != nil {
			return
		}
		again, err := codec.Encode(c)
		if err != nil {
			return // two types in one column
		}
		if _, err := codec.Decode(again); err != nil {
			t.Fatalf("Decode(Encode(Decode(%q))) = %v", data, err)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	c := codec.Changeset{Key: map[string]any{"id": int64(1)}, Columns: map[string]codec.Pair{"name": {New: "x"}, "total": {Old: int64(1), New: int64(2)}, "at": {New: time.Now()}}}
	for b.Loop() {
		if _, err := codec.Encode(c); err != nil {
			b.Fatal(err)
		}
	}
}
