package reliable

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm/schema"

	"github.com/gorm-aftercommit/aftercommit/internal/capture"
	"github.com/gorm-aftercommit/aftercommit/internal/codec"
)

// resourceID returns a primary key as text: the value, or a JSON array of the
// values of a composite key. Different keys have different texts: bytes are
// \x and their hexadecimal digits, as is, after \s, a string that is no plain
// text or looks like one of these.
func resourceID(key codec.Key) (string, error) {
	parts := make([]string, len(key))
	for i, column := range key {
		switch v := column.Value.(type) {
		case []byte:
			parts[i] = `\x` + hex.EncodeToString(v)
		case time.Time:
			parts[i] = v.UTC().Format(time.RFC3339Nano)
		case string:
			if parts[i] = v; !storable(v) || strings.HasPrefix(v, `\x`) || strings.HasPrefix(v, `\s`) {
				parts[i] = `\s` + hex.EncodeToString([]byte(v))
			}
		default:
			parts[i] = fmt.Sprint(v)
		}
	}
	if len(parts) == 1 {
		return parts[0], nil
	}
	text, err := json.Marshal(parts)
	return string(text), err
}

// view is how a statement's columns meet a model's fields.
type view struct {
	watch   *watch
	fields  []*schema.Field       // by position; nil = not the model's, or left out
	columns map[string]codec.Pair // of the row at hand
}

func (w *watch) view(columns []string) *view {
	v := &view{watch: w, fields: make([]*schema.Field, len(columns)), columns: make(map[string]codec.Pair, len(columns))}
	for i, column := range columns {
		field := w.schema.FieldsByDBName[column]
		if field != nil && !w.out[column] {
			v.fields[i] = field
		}
	}
	return v
}

// model returns a new *T with the values.
func (v *view) model(ctx context.Context, values []any) (reflect.Value, error) {
	model := reflect.New(v.watch.typ)
	var fields []*schema.Field
	var set []any
	for i, field := range v.fields {
		if field != nil {
			fields, set = append(fields, field), append(set, values[i])
		}
	}
	return model, v.watch.fill(ctx, model, fields, set)
}

// changes returns what happened to a row, as what kind of write; 0 if nothing
// did that counts. The changeset's columns are valid until the next call.
func (v *view) changes(kind capture.Operation, r *capture.Row) (Operation, codec.Changeset, error) {
	clear(v.columns)
	set := codec.Changeset{Columns: v.columns, OldUnknown: r.OldUnknown}
	op := OpUpdate
	switch {
	case r.New == nil:
		op = OpDestroy
	case r.Old == nil && !r.OldUnknown:
		op = OpCreate
	case kind == capture.Delete:
		op, set.SoftDeleted = OpDestroy, true
	}
	touched := true // so far nothing changed but autoUpdateTime columns
	for i, field := range v.fields {
		if field == nil {
			continue
		}
		var pair codec.Pair
		if r.Old != nil {
			pair.Old = r.Old[i]
		}
		if r.New != nil {
			pair.New = r.New[i]
		}
		same := !r.OldUnknown && codec.Equal(pair.Old, pair.New)
		switch {
		case op == OpUpdate && same:
			continue
		case set.SoftDeleted && same:
			pair.New = nil
		}
		set.Columns[field.DBName] = pair
		if v.watch.sensitive[field.DBName] {
			set.Sensitive = append(set.Sensitive, field.DBName)
		}
		touched = touched && field.AutoUpdateTime > 0
		set.Restored = set.Restored || op == OpUpdate && !r.OldUnknown && marks(field) && live(field, pair.New) && !live(field, pair.Old)
	}
	var err error
	if set.Key, err = v.key(r); err != nil {
		return 0, set, err
	}
	if op == OpUpdate && (len(set.Columns) == 0 || touched && !v.watch.touchCounts) {
		return 0, set, nil
	}
	return op, set, nil
}

// key returns a row's primary key after the write, or before it for a destroy.
func (v *view) key(r *capture.Row) (codec.Key, error) {
	values := r.New
	if values == nil {
		values = r.Old
	}
	key := make(codec.Key, 0, len(v.watch.schema.PrimaryFields))
	for _, field := range v.watch.schema.PrimaryFields {
		i := slices.Index(v.fields, field)
		if i < 0 {
			return nil, fmt.Errorf("the database returned no %s", field.DBName)
		}
		key = append(key, codec.Column{Name: field.DBName, Value: values[i]})
	}
	return key, nil
}

// marks reports whether a column marks soft-deleted rows: gorm.DeletedAt, and
// the types of gorm.io/plugin/soft_delete.
func marks(field *schema.Field) bool {
	_, ok := reflect.New(field.IndirectFieldType).Interface().(schema.DeleteClausesInterface)
	return ok
}

// live reports whether that column's value is the one of a row that is not soft
// deleted: NULL, zero, or the time of the tag zeroValue.
func live(field *schema.Field, v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case time.Time:
		zero := strings.Trim(field.TagSettings["ZEROVALUE"], "'")
		return zero != "" && strings.HasPrefix(v.Format(time.DateTime), zero)
	default:
		return fmt.Sprint(v) == "0" || v == false
	}
}
