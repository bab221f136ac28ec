package capture

import (
	"bytes"
	"database/sql"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// table is the buffered result of a query.
type table struct {
	columns []string
	types   []columnType
	rows    [][]any
	err     error // what ended the rows
	dropped int   // rows beyond the limit, only counted
}

type columnType struct {
	name string // of the database's type
	scan reflect.Type
}

// failed reports whether the rows ended with an error.
func (t *table) failed() bool { return t != nil && t.err != nil }

// buffer reads rows and closes them. It keeps at most limit of them if limit is
// positive. The values are the driver's.
func buffer(rows *sql.Rows, limit int) (t *table, err error) {
	defer func() {
		if closed := rows.Close(); err == nil && t.err == nil {
			t.err = closed
		}
	}()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	types, err := rows.ColumnTypes()
	if err != nil {
		return nil, err
	}
	t = &table{columns: columns}
	for _, typ := range types {
		t.types = append(t.types, columnType{typ.DatabaseTypeName(), typ.ScanType()})
	}
	targets := make([]any, len(columns))
	var slab []any
	for rows.Next() {
		if limit > 0 && len(t.rows) == limit {
			t.dropped++
			continue
		}
		if len(slab) == 0 { // rows by the dozen, but for the first
			slab = make([]any, min(1+len(t.rows), 64)*len(columns))
		}
		row := slab[:len(columns):len(columns)]
		slab = slab[len(columns):]
		for i := range row {
			targets[i] = &row[i]
		}
		if err := rows.Scan(targets...); err != nil {
			return nil, err
		}
		t.rows = append(t.rows, row)
	}
	t.err = rows.Err()
	return t, nil
}

// index returns the position of a column, or -1.
func (t *table) index(column string) int { return slices.Index(t.columns, column) }

// has reports whether t has all the columns.
func (t *table) has(columns []string) bool {
	return !slices.ContainsFunc(columns, func(c string) bool { return t.index(c) < 0 })
}

// cut returns the columns from lo up to hi.
func (t *table) cut(lo, hi int) *table {
	part := &table{columns: t.columns[lo:hi:hi], types: t.types[lo:hi:hi], err: t.err, rows: make([][]any, len(t.rows))}
	for i, row := range t.rows {
		part.rows[i] = row[lo:hi:hi]
	}
	return part
}

// Marks separate what a rewritten statement returns.
const (
	mark1 = "reliable__1"
	mark2 = "reliable__2"
)

// before returns the columns in front of a mark, after those behind it.
func (t *table) before(mark string) *table { return t.cut(0, max(t.index(mark), 0)) }
func (t *table) after(mark string) *table  { return t.cut(t.index(mark)+1, len(t.columns)) }

// keys returns the values of the columns, one text per row, "" if one of them
// is NULL. The text is the same whatever type the driver gives a value.
func (t *table) keys(columns []string) ([]string, error) {
	at := make([]int, len(columns))
	for i, column := range columns {
		if at[i] = t.index(column); at[i] < 0 {
			return nil, fmt.Errorf("reliable: column %s is not among those that the database returned", column)
		}
	}
	keys := make([]string, len(t.rows))
	var b strings.Builder
rows:
	for i, row := range t.rows {
		b.Reset()
		for _, j := range at {
			if row[j] == nil {
				continue rows
			}
			text := keyText(row[j])
			b.WriteString(strconv.Itoa(len(text)))
			b.WriteByte(':')
			b.WriteString(text)
		}
		keys[i] = b.String()
	}
	return keys, nil
}

func keyText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	default:
		return fmt.Sprint(v)
	}
}

// aligned returns the row of t with its values in the order of columns.
func (t *table) aligned(row []any, columns []string) []any {
	if slices.Equal(t.columns, columns) {
		return row
	}
	values := make([]any, len(columns))
	for i, column := range columns {
		if j := t.index(column); j >= 0 {
			values[i] = row[j]
		}
	}
	return values
}

// same reports whether two values of a driver are the same.
func same(a, b any) bool {
	switch a := a.(type) {
	case []byte:
		b, ok := b.([]byte)
		return ok && bytes.Equal(a, b)
	case time.Time:
		b, ok := b.(time.Time)
		return ok && a.Equal(b)
	default:
		return a == b
	}
}
