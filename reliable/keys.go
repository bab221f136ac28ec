package reliable

import (
	"context"
	"database/sql/driver"
	"fmt"
	"reflect"
	"strconv"

	"gorm.io/gorm/clause"
	"gorm.io/gorm/schema"

	"github.com/gorm-aftercommit/aftercommit/internal/codec"
)

// keysIn returns the condition that selects the rows with the keys.
func (w *watch) keysIn(ctx context.Context, keys []reflect.Value) clause.Expression {
	fields := w.schema.PrimaryFields
	values := make([]any, len(keys))
	for i, key := range keys {
		parts := make([]any, len(fields))
		for j, field := range fields {
			parts[j], _ = field.ValueOf(ctx, key.Elem())
		}
		if values[i] = parts; len(fields) == 1 {
			values[i] = parts[0]
		}
	}
	if len(fields) == 1 {
		column := clause.Column{Table: clause.CurrentTable, Name: fields[0].DBName}
		return clause.IN{Column: column, Values: values}
	}
	columns := make([]clause.Column, len(fields))
	for i, field := range fields {
		columns[i] = clause.Column{Table: clause.CurrentTable, Name: field.DBName}
	}
	return clause.IN{Column: columns, Values: values}
}

// identity names a row by its primary key, for comparison within a process.
func (w *watch) identity(ctx context.Context, model reflect.Value) (string, error) {
	if len(w.schema.PrimaryFields) == 1 { // most models
		switch v, _ := w.schema.PrimaryFields[0].ValueOf(ctx, model.Elem()); v := v.(type) {
		case string:
			return v, nil
		case int64:
			return strconv.FormatInt(v, 10), nil
		case uint:
			return strconv.FormatUint(uint64(v), 10), nil
		case uint64:
			return strconv.FormatUint(v, 10), nil
		}
	}
	key := make(codec.Key, len(w.schema.PrimaryFields))
	for i, field := range w.schema.PrimaryFields {
		v, _ := field.ValueOf(ctx, model.Elem())
		value, err := sent(v)
		if err != nil {
			return "", fmt.Errorf("primary key %s: %w", field.BindName(), err)
		}
		key[i] = codec.Column{Name: field.DBName, Value: value}
	}
	return resourceID(key)
}

// sent returns a field's value as a driver gets it.
func sent(v any) (driver.Value, error) {
	if valuer, ok := v.(driver.Valuer); ok {
		return valuer.Value()
	}
	if u := reflect.ValueOf(v); u.CanUint() {
		return u.Uint(), nil
	}
	return driver.DefaultParameterConverter.ConvertValue(v)
}

// setKey sets a field of the primary key to a driver value.
func (w *watch) setKey(ctx context.Context, model reflect.Value, field *schema.Field, value any) error {
	switch value.(type) { // most keys, and no entry is run without it: fill takes far longer
	case int64:
		switch field.FieldType.Kind() {
		case reflect.Int, reflect.Int64, reflect.Uint, reflect.Uint64:
			if field.FieldType.PkgPath() == "" {
				return field.Set(ctx, model.Elem(), value)
			}
		default:
		}
	case string:
		if field.FieldType == reflect.TypeFor[string]() && field.Serializer == nil {
			return field.Set(ctx, model.Elem(), value)
		}
	}
	return w.fill(ctx, model, []*schema.Field{field}, []any{value})
}
