package reliable

import (
	"context"
	"encoding/json"
	"reflect"
	"strconv"

	"gorm.io/gorm/clause"
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
	if len(w.schema.PrimaryFields) == 1 { // most models; JSON takes three times as long
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
	parts := make([]any, len(w.schema.PrimaryFields))
	for i, field := range w.schema.PrimaryFields {
		parts[i], _ = field.ValueOf(ctx, model.Elem())
	}
	id, err := json.Marshal(parts)
	return string(id), err
}
