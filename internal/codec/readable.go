package codec

import (
	"bytes"
	"encoding/hex"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// mask stands for a value that nobody is to see.
const mask = "[masked]"

// Readable returns c for people: bytes are text or, if they are none, \x and
// hexadecimal digits; times and special floats are text; the values of sensitive
// columns, but for NULL, are masked. The result is not what was captured: it is only to be shown.
func (c Changeset) Readable() Changeset {
	show := func(column string, v any) any {
		if v != nil && slices.Contains(c.Sensitive, column) {
			return mask
		}
		return readable(v)
	}
	shown := c
	shown.Key = make(Key, len(c.Key))
	for i, column := range c.Key {
		shown.Key[i] = Column{column.Name, show(column.Name, column.Value)}
	}
	shown.Columns = make(map[string]Pair, len(c.Columns))
	for name, p := range c.Columns {
		shown.Columns[name] = Pair{show(name, p.Old), show(name, p.New)}
	}
	return shown
}

func readable(v any) any {
	switch v := v.(type) {
	case string:
		return strings.ToValidUTF8(v, string(utf8.RuneError))
	case []byte:
		if utf8.Valid(v) && bytes.IndexByte(v, 0) < 0 { // JSON, in PostgreSQL
			return string(v)
		}
		return `\x` + hex.EncodeToString(v)
	case time.Time:
		return v.Format("2006-01-02T15:04:05.999999999Z07:00")
	case float64:
		switch {
		case math.IsNaN(v):
			return "NaN"
		case math.IsInf(v, 1):
			return "Infinity"
		case math.IsInf(v, -1):
			return "-Infinity"
		}
	}
	return v
}
