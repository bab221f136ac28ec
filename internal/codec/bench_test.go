package codec_test

import (
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/codec"
)

// order is an update of ten columns of the types that drivers deliver.
func order() codec.Changeset {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	return codec.Changeset{
		Key: codec.Key{{"id", int64(4711)}},
		Columns: map[string]codec.Pair{
			"id":         {Old: int64(4711), New: int64(4711)},
			"code":       {Old: "A-1000", New: "A-1001"},
			"customer":   {Old: "Zoë Müller", New: "Zoë \"Z\" Müller"},
			"note":       {New: "Leave it with the neighbour, please."},
			"total":      {Old: "199.90", New: "249.90"},
			"quantity":   {Old: int64(2), New: int64(3)},
			"weight":     {Old: 1.25, New: 1.875},
			"paid":       {Old: false, New: true},
			"photo":      {Old: []byte("\x89PNG\r\n\x1a\n"), New: []byte("\xff\xd8\xff\xe0\x00\x10JFIF")},
			"updated_at": {Old: at, New: at.Add(time.Hour)},
		},
	}
}

func BenchmarkEncode(b *testing.B) {
	c := order()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := codec.Encode(c); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	data, err := codec.Encode(order())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := codec.Decode(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeHead(b *testing.B) {
	data, err := codec.Encode(order())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := codec.DecodeHead(data); err != nil {
			b.Fatal(err)
		}
	}
}
