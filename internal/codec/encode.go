package codec

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// Version is the format that Encode writes.
const Version = 1

// Encode returns c as JSON: {"v":1,"key":{...},"set":{"column":[old,new]},
// "types":{"column":"t"}, ...}, valid UTF-8 without NUL bytes. A value of
// another type than a driver delivers is an error that names the column.
func Encode(c Changeset) ([]byte, error) {
	kinds := make(map[string]Kind)
	for column, v := range c.Key {
		if err := merge(kinds, column, v); err != nil {
			return nil, err
		}
	}
	for column, p := range c.Columns {
		if err := merge(kinds, column, p.Old, p.New); err != nil {
			return nil, err
		}
	}
	b := append(make([]byte, 0, 256), `{"v":1`...)
	if len(c.Key) > 0 {
		b = append(b, `,"key":{`...)
		for i, column := range slices.Sorted(maps.Keys(c.Key)) {
			b = appendName(b, i, column)
			b = appendValue(b, kinds[column], c.Key[column])
		}
		b = append(b, '}')
	}
	if len(c.Columns) > 0 {
		b = append(b, `,"set":{`...)
		for i, column := range slices.Sorted(maps.Keys(c.Columns)) {
			b = appendName(b, i, column)
			b = appendValue(append(b, '['), kinds[column], c.Columns[column].Old)
			b = appendValue(append(b, ','), kinds[column], c.Columns[column].New)
			b = append(b, ']')
		}
		b = append(b, '}')
	}
	if len(kinds) > 0 {
		b = append(b, `,"types":{`...)
		for i, column := range slices.Sorted(maps.Keys(kinds)) {
			b = appendName(b, i, column)
			b = append(b, '"', byte(kinds[column]), '"')
		}
		b = append(b, '}')
	}
	for _, flag := range []struct {
		name string
		set  bool
	}{{"soft_deleted", c.SoftDeleted}, {"restored", c.Restored}, {"old_unknown", c.OldUnknown}} {
		if flag.set {
			b = append(appendName(b, 1, flag.name), "true"...)
		}
	}
	return append(b, '}'), nil
}

// merge notes the hint that a column's values need.
func merge(kinds map[string]Kind, column string, values ...any) error {
	for _, v := range values {
		kind, err := kindOf(v)
		if err != nil {
			return fmt.Errorf("column %s: %w", column, err)
		}
		have := kinds[column]
		switch {
		case kind == Plain:
			if _, text := v.(string); text && (have == Bytes || have == Time || have == Float) {
				return fmt.Errorf("column %s: text beside another type", column)
			}
		case have == Plain || have == kind:
			kinds[column] = kind
		default:
			return fmt.Errorf("column %s: values of two types", column)
		}
	}
	return nil
}

// kindOf returns the hint that one value needs.
func kindOf(v any) (Kind, error) {
	switch v := v.(type) {
	case nil, bool, int64, uint64:
		return Plain, nil
	case string:
		if !utf8.ValidString(v) {
			return Text, nil
		}
		return Plain, nil
	case float32, float64:
		return Float, nil
	case []byte:
		return Bytes, nil
	case time.Time:
		return Time, nil
	default:
		return Plain, fmt.Errorf("a value of type %T can't be carried", v)
	}
}

// appendName appends a member's name, after a comma unless it is the first.
func appendName(b []byte, position int, name string) []byte {
	if position > 0 {
		b = append(b, ',')
	}
	return append(appendText(b, name), ':')
}

// appendText appends a JSON string; invalid UTF-8 in a name is replaced.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= 0x7f {
			var quoted bytes.Buffer
			e := json.NewEncoder(&quoted)
			e.SetEscapeHTML(false)
			_ = e.Encode(s) // a string never fails
			return append(b, bytes.TrimSuffix(quoted.Bytes(), []byte("\n"))...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// appendValue appends a value as its column's kind says.
func appendValue(b []byte, kind Kind, v any) []byte {
	switch v := v.(type) {
	case bool:
		return strconv.AppendBool(b, v)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case uint64:
		return strconv.AppendUint(b, v, 10)
	case float32:
		return appendFloat(b, float64(v))
	case float64:
		return appendFloat(b, v)
	case []byte:
		return appendBase64(b, v)
	case time.Time:
		return append(append(append(b, '"'), formatTime(v)...), '"')
	case string:
		if kind == Text {
			return appendBase64(b, []byte(v))
		}
		return appendText(b, v)
	default:
		return append(b, "null"...)
	}
}

func appendFloat(b []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(b, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(b, `"-Infinity"`...)
	default:
		return strconv.AppendFloat(b, f, 'g', -1, 64)
	}
}

func appendBase64(b, data []byte) []byte {
	b = append(b, '"')
	return append(base64.StdEncoding.AppendEncode(b, data), '"')
}

// formatTime is RFC 3339 with nanoseconds; other years than 0 to 9999 as
// seconds and nanoseconds since 1970.
func formatTime(t time.Time) string {
	if y := t.Year(); y < 0 || y > 9999 {
		return fmt.Sprintf("@%d.%09d", t.Unix(), t.Nanosecond())
	}
	return t.Format(time.RFC3339Nano)
}

// Equal reports whether two driver values are the same: times by instant,
// bytes by content, NaN with NaN, integers by value.
func Equal(a, b any) bool {
	switch a := a.(type) {
	case time.Time:
		b, ok := b.(time.Time)
		return ok && a.Equal(b)
	case []byte:
		b, ok := b.([]byte)
		return ok && bytes.Equal(a, b) && (a == nil) == (b == nil)
	case float64:
		b, ok := b.(float64)
		return ok && (a == b && math.Signbit(a) == math.Signbit(b) || math.IsNaN(a) && math.IsNaN(b))
	case uint64:
		if b, ok := b.(int64); ok {
			return b >= 0 && a == uint64(b)
		}
	case int64:
		if b, ok := b.(uint64); ok {
			return a >= 0 && b == uint64(a)
		}
	}
	return a == b
}
