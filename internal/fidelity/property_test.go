package fidelity_test

import (
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/shopspring/decimal"
	"gorm.io/gorm/schema"
	"pgregory.net/rapid"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// Drawn has values of many kinds, drawn at random.
type Drawn struct {
	ID   int64
	I8   int8
	I64  int64
	U32  uint32
	F32  float32
	F64  float64
	B    bool
	S    string
	PS   *string
	PI   *int64
	Raw  []byte
	At   time.Time
	PAt  *time.Time
	Dec  decimal.Decimal `gorm:"type:numeric(30,10)"`
	UID  uuid.UUID       `gorm:"type:char(36)"`
	List []string        `gorm:"serializer:json"`
	Own  Money           `gorm:"type:text"`
	Soft address         `gorm:"embedded;embeddedPrefix:soft_"`
	Hard *address        `gorm:"embedded;embeddedPrefix:hard_"`
}

// TableName implements gorm's schema.TablerWithNamer.
func (Drawn) TableName(n schema.Namer) string { return n.TableName("cell") }

// drawText draws what the database takes as text.
func drawText(t *rapid.T, d testdb.Dialect, label string) string {
	text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[ -~äß€🛒]{0,20}`), rapid.SampledFrom([]string{"", "NULL", "null", "\\", "'", "2026-01-02", "12", "1.50"})).Draw(t, label)
	if d == testdb.Postgres {
		text = strings.ReplaceAll(text, "\x00", "")
	}
	if !utf8.ValidString(text) {
		return ""
	}
	return text
}

func drawTime(t *rapid.T, label string) time.Time {
	zone := time.FixedZone("", rapid.IntRange(-14*3600, 14*3600).Draw(t, label+" zone"))
	return time.Unix(rapid.Int64Range(-1e10, 1e11).Draw(t, label), rapid.Int64Range(0, 999_999).Draw(t, label+" µs")*1000).In(zone)
}

func drawAddress(t *rapid.T, d testdb.Dialect, label string) address {
	a := address{City: drawText(t, d, label+" city"), Seen: drawTime(t, label+" seen")}
	if rapid.Bool().Draw(t, label+" has a zip") {
		a.Zip = ptr(drawText(t, d, label+" zip"))
	}
	return a
}

func draw(t *rapid.T, d testdb.Dialect) Drawn {
	float := rapid.OneOf(rapid.Float64Range(-1e300, 1e300), rapid.SampledFrom([]float64{0, 1, -1, 1e15, 0.1, 1 << 53}))
	row := Drawn{
		I8: rapid.Int8().Draw(t, "i8"), I64: rapid.OneOf(rapid.Int64(), rapid.SampledFrom([]int64{0, math.MaxInt64, math.MinInt64})).Draw(t, "i64"),
		U32: rapid.Uint32().Draw(t, "u32"), F32: rapid.Float32Range(-1e30, 1e30).Draw(t, "f32"), F64: float.Draw(t, "f64"), B: rapid.Bool().Draw(t, "b"),
		S: drawText(t, d, "s"), At: drawTime(t, "at"), Raw: rapid.SliceOf(rapid.Byte()).Draw(t, "raw"),
		Dec: decimal.New(rapid.Int64().Draw(t, "dec"), int32(rapid.IntRange(-10, 0).Draw(t, "scale"))),
		UID: uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "uid")), List: rapid.SliceOf(rapid.String()).Draw(t, "list"),
		Own: Money{rapid.StringMatching(`[A-Z]{3}`).Draw(t, "currency"), rapid.Int64().Draw(t, "cents")}, Soft: drawAddress(t, d, "soft"),
	}
	if rapid.Bool().Draw(t, "pointers") {
		row.PS, row.PI, row.PAt, row.Hard = ptr(drawText(t, d, "ps")), ptr(rapid.Int64().Draw(t, "pi")), ptr(drawTime(t, "pat")), ptr(drawAddress(t, d, "hard"))
	}
	return row
}

// Whatever the row is and becomes, callbacks get what a query reads (70).
func TestDrawn(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		l := newLab[Drawn](t, migrated(t, d), "drawn_")
		if err := l.db.AutoMigrate(&Drawn{}); err != nil {
			t.Fatal(err)
		}
		program := rapid.Custom(func(t *rapid.T) []Drawn {
			row, next := draw(t, d), draw(t, d)
			if rapid.Bool().Draw(t, "update of a few") {
				some := row
				some.S, some.PS, some.Raw = next.S, next.PS, next.Raw
				next = some
			}
			return []Drawn{row, next}
		})
		if d == testdb.SQLite {
			rapid.Check(t, func(t *rapid.T) { l.roundTrip(t, program.Draw(t, "rows")) })
			return
		}
		for seed := range 25 { // these take their time
			l.roundTrip(t, program.Example(seed))
		}
	})
}
