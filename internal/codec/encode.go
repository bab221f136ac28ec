package codec

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// Encode returns c as JSON, {"v":1,"key":{"id":7},"set":{"total":[5,9]},
// "soft_deleted":true}: valid UTF-8 without NUL bytes. A value that no driver
// delivers, or a column whose name is not UTF-8, is an error that names the
// column.
func Encode(c Changeset) ([]byte, error) {
	b := append(make([]byte, 0, 512), `{"v":1`...)
	var err error
	if len(c.Key) > 0 {
		b = append(b, `,"key":{`...)
		for i, column := range c.Key {
			if b, err = appendName(b, i, column.Name); err != nil {
				return nil, err
			}
			if b, err = appendValue(b, column.Value); err != nil {
				return nil, fmt.Errorf("column %s: %w", column.Name, err)
			}
		}
		b = append(b, '}')
	}
	if len(c.Columns) > 0 {
		b = append(b, `,"set":{`...)
		var few [32]string // on the stack, unless there are more
		columns := few[:0]
		for column := range c.Columns {
			columns = append(columns, column)
		}
		slices.Sort(columns)
		for i, column := range columns {
			if b, err = appendName(b, i, column); err != nil {
				return nil, err
			}
			p := c.Columns[column]
			if b, err = appendValue(append(b, '['), p.Old); err == nil {
				b, err = appendValue(append(b, ','), p.New)
			}
			if err != nil {
				return nil, fmt.Errorf("column %s: %w", column, err)
			}
			b = append(b, ']')
		}
		b = append(b, '}')
	}
	if len(c.Sensitive) > 0 {
		b = append(b, `,"sensitive":[`...)
		for i, column := range slices.Sorted(slices.Values(c.Sensitive)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendText(b, column)
		}
		b = append(b, ']')
	}
	b = appendFlag(b, memberSoftDeleted, c.SoftDeleted)
	b = appendFlag(b, memberRestored, c.Restored)
	b = appendFlag(b, memberOldUnknown, c.OldUnknown)
	return append(b, '}'), nil
}

// appendName appends a column's name as a member, after a comma unless it is
// the first.
func appendName(b []byte, position int, column string) ([]byte, error) {
	if !utf8.ValidString(column) {
		return nil, fmt.Errorf("column %q: the name is not UTF-8", column)
	}
	if position > 0 {
		b = append(b, ',')
	}
	return append(appendText(b, column), ':'), nil
}

func appendFlag(b []byte, name string, set bool) []byte {
	if !set {
		return b
	}
	return append(append(append(b, ',', '"'), name...), `":true`...)
}

// appendText appends a JSON string.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= 0x7f {
			return appendQuoted(b, s)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

func appendQuoted(b []byte, s string) []byte {
	var quoted bytes.Buffer
	e := json.NewEncoder(&quoted)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string never fails
	return append(b, bytes.TrimSuffix(quoted.Bytes(), []byte("\n"))...)
}

// appendValue appends a driver value.
func appendValue(b []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case int64:
		return strconv.AppendInt(b, v, 10), nil
	case uint64:
		return strconv.AppendUint(b, v, 10), nil
	case float32:
		return appendFloat(b, float64(v)), nil
	case float64:
		return appendFloat(b, v), nil
	case []byte:
		return appendBase64(append(b, `{"b":`...), v), nil
	case time.Time:
		return appendTime(b, v), nil
	case string:
		if !utf8.ValidString(v) {
			return appendBase64(append(b, `{"s":`...), []byte(v)), nil
		}
		return appendText(b, v), nil
	default:
		return nil, fmt.Errorf("a value of type %T can't be carried", v)
	}
}

// appendFloat appends a number that can't be taken for an integer.
func appendFloat(b []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, `{"f":"NaN"}`...)
	case math.IsInf(f, 1):
		return append(b, `{"f":"Infinity"}`...)
	case math.IsInf(f, -1):
		return append(b, `{"f":"-Infinity"}`...)
	}
	start := len(b)
	b = strconv.AppendFloat(b, f, 'g', -1, 64)
	if !bytes.ContainsAny(b[start:], ".e") {
		b = append(b, ".0"...)
	}
	return b
}

func appendBase64(b, data []byte) []byte {
	b = append(b, '"')
	return append(base64.StdEncoding.AppendEncode(b, data), `"}`...)
}

// appendTime appends a time as RFC 3339 with nanoseconds. RFC 3339 has offsets
// by the minute and years to 9999; other offsets become UTC, other years seconds
// since 1970: the instant is kept.
func appendTime(b []byte, t time.Time) []byte {
	b = append(b, `{"t":"`...)
	if _, offset := t.Zone(); offset%60 != 0 || offset <= -24*3600 || offset >= 24*3600 {
		t = t.UTC()
	}
	if y := t.Year(); y < 0 || y > 9999 {
		b = fmt.Appendf(b, "@%d.%09d", t.Unix(), t.Nanosecond())
	} else {
		b = t.AppendFormat(b, time.RFC3339Nano)
	}
	return append(b, `"}`...)
}
