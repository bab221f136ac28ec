package capture

import (
	"database/sql"
	"strconv"
	"strings"
)

// normalize gives the values the types of their columns: the text protocol
// delivers text for all but times. Texts are strings, numbers are int64 or
// float64, where they fit; only what is binary stays []byte.
func (t *table) normalize() {
	for i, row := range t.rows {
		fresh := make([]any, len(row))
		for j, v := range row {
			fresh[j] = normal(v, t.types[j].name)
		}
		t.rows[i] = fresh
	}
}

func normal(v any, column string) any {
	switch v := v.(type) {
	case []byte:
		return typed(v, strings.TrimPrefix(column, "UNSIGNED "))
	case float32:
		f, err := strconv.ParseFloat(strconv.FormatFloat(float64(v), 'g', -1, 32), 64)
		if err != nil {
			return float64(v)
		}
		return f
	case uint64:
		if int64(v) >= 0 {
			return int64(v)
		}
		return strconv.FormatUint(v, 10)
	default:
		return v
	}
}

func typed(text []byte, column string) any {
	switch column {
	case "TINYINT", "SMALLINT", "MEDIUMINT", "INT", "BIGINT", "YEAR":
		if n, err := strconv.ParseInt(string(text), 10, 64); err == nil {
			return n
		}
	case "FLOAT", "DOUBLE":
		if f, err := strconv.ParseFloat(string(text), 64); err == nil {
			return f
		}
	case "BLOB", "TINYBLOB", "MEDIUMBLOB", "LONGBLOB", "BINARY", "VARBINARY", "BIT", "GEOMETRY", "NULL":
		return text
	}
	return string(text)
}

// exactKeys refuses a primary key whose values, sent back, do not equal
// themselves: the UPDATE would change nothing.
func (s *statement) exactKeys(t *table, keys []string) error {
	for _, key := range keys {
		if typ := t.types[t.index(key)].name; typ == "FLOAT" || typ == "BIT" {
			return s.refuse("the primary key " + key + " is a " + typ + ", which MariaDB finds by no value: make it a DOUBLE, a DECIMAL or an integer")
		}
	}
	return nil
}

var _ sql.Result = result{}
