package oracle

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"gorm.io/gorm/schema"

	"github.com/gorm-aftercommit/aftercommit/internal/codec"
)

// row names the row as it was before the write: what orders its changes.
func (c *change) row() string {
	row := c.old
	if row == nil {
		row = c.new
	}
	return c.key(row)
}

func (e *entry) row() string {
	var parts []string
	for _, column := range e.set.Key {
		v := column.Value
		if pair, ok := e.set.Columns[column.Name]; ok && !e.set.OldUnknown && !strings.HasSuffix(e.event, "_created") {
			v = pair.Old
		}
		parts = append(parts, plain(v))
	}
	return joined(parts)
}

// key is a row's primary key as entries name it.
func (c *change) key(row image) string {
	if c.table.schema == nil {
		return ""
	}
	var parts []string
	for _, field := range c.table.schema.PrimaryFields {
		parts = append(parts, plain(row[field.DBName]))
	}
	return joined(parts)
}

func joined(parts []string) string {
	if len(parts) == 1 {
		return parts[0]
	}
	text, _ := json.Marshal(parts)
	return string(text)
}

// none reports whether nothing changed that counts.
func (c *change) none() bool {
	if c.old == nil || c.new == nil {
		return false
	}
	for column := range seen(c.table.schema, c.new) {
		field := lookUp(c.table.schema, column)
		if text(c.old[column]) != text(c.new[column]) && (field == nil || field.AutoUpdateTime == 0) {
			return false
		}
	}
	return true
}

// seen returns the columns that entries of a model have.
func seen(s *schema.Schema, row image) map[string]bool {
	columns := make(map[string]bool, len(row))
	for column := range row {
		if field := lookUp(s, column); s == nil || field != nil && field.Readable && field.Tag.Get("reliable") != "-" {
			columns[column] = true
		}
	}
	return columns
}

func lookUp(s *schema.Schema, column string) *schema.Field {
	if s == nil {
		return nil
	}
	return s.FieldsByDBName[column]
}

// line renders the change in the form of an entry: with its model's columns,
// as a soft delete if it says so and that is what happened, without old values
// if it does not know them.
func (c *change) line(e *entry) string {
	s := c.table.schema
	if e != nil && e.schema != nil {
		s = e.schema
	}
	old, now := c.old, c.new
	if old == nil {
		old = make(image)
	}
	row, kind := now, "create"
	switch {
	case now == nil:
		row, kind = old, "destroy"
	case c.old == nil:
	case e != nil && e.set.SoftDeleted && !marked(s, old) && marked(s, now):
		kind = "soft destroy"
	case e != nil && e.set.OldUnknown:
		kind = "update " + Unknown
	case marked(s, old) && !marked(s, now):
		kind = "restore"
	default:
		kind = "update"
	}
	pairs := make(map[string]codec.Pair)
	for column := range seen(s, row) {
		pair := codec.Pair{Old: old[column], New: now[column]}
		same := text(pair.Old) == text(pair.New)
		switch {
		case same && (kind == "update" || kind == "restore"):
			continue
		case same && kind == "soft destroy":
			pair.New = nil
		case kind == "update "+Unknown:
			pair.Old = nil
		}
		pairs[column] = pair
	}
	return line(kind, c.table.name, c.key(row), pairs)
}

// line renders the entry.
func (e *entry) line() string {
	kind := e.event[strings.LastIndexByte(e.event, '_')+1:]
	kind = map[string]string{"created": "create", "updated": "update", "destroyed": "destroy"}[kind]
	switch {
	case e.set.SoftDeleted:
		kind = "soft " + kind
	case e.set.Restored:
		kind = strings.Replace(kind, "update", "restore", 1)
	}
	if e.set.OldUnknown {
		kind += " " + Unknown
	}
	return line(kind, e.table, e.id, e.set.Columns)
}

func line(kind, table, id string, pairs map[string]codec.Pair) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s:", kind, table, id)
	for _, column := range slices.Sorted(maps.Keys(pairs)) {
		fmt.Fprintf(&b, " %s %s -> %s;", column, text(pairs[column].Old), text(pairs[column].New))
	}
	return strings.TrimSuffix(b.String(), ";")
}

// marked reports whether a row is soft deleted. A live one has NULL, zero, or
// the value of the tag zeroValue.
func marked(s *schema.Schema, row image) bool {
	if s == nil {
		return false
	}
	for _, field := range s.Fields {
		if _, ok := reflect.New(field.IndirectFieldType).Interface().(schema.DeleteClausesInterface); !ok || field.DBName == "" {
			continue
		}
		switch text(row[field.DBName]) {
		case "NULL", "0", "false", strings.Replace(field.TagSettings["ZEROVALUE"], " ", "T", 1) + "Z":
		default:
			return true
		}
	}
	return false
}

// text renders a driver value so that two are the same if their texts are.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case string:
		return strconv.Quote(v)
	case []byte:
		return "0x" + hex.EncodeToString(v)
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	case float32:
		return float(float64(v), 32)
	case float64:
		return float(v, 64)
	default:
		return fmt.Sprint(v)
	}
}

// float writes a point or an exponent, so that 1.0 is not 1.
func float(f float64, bits int) string {
	s := strconv.FormatFloat(f, 'g', -1, bits)
	if strings.ContainsAny(s, ".e") || math.IsNaN(f) || math.IsInf(f, 0) {
		return s
	}
	return s + ".0"
}

// plain renders a value of a key as entries name it.
func plain(v any) string {
	switch v := v.(type) {
	case []byte:
		return string(v)
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	default:
		return fmt.Sprint(v)
	}
}
