package reliable

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"gorm.io/gorm/schema"

	"github.com/gorm-aftercommit/aftercommit/internal/capture"
)

// fill sets fields of a model, a *T, to driver values, as a query of GORM's
// does: through database/sql into what the field scans with, and from there
// into the field. Where a query would fail, so does fill; Field.Set alone
// wraps integers around. Nothing that model points to is written to: it may be
// another model's.
func (w *watch) fill(ctx context.Context, model reflect.Value, fields []*schema.Field, values []any) error {
	columns, sent, targets := make([]string, len(fields)), make([]any, len(fields)), make([]any, len(fields))
	for i, field := range fields {
		columns[i], targets[i] = field.DBName, field.NewValuePool.Get()
		if sent[i] = values[i]; w.bytes {
			if text, ok := values[i].(string); ok {
				sent[i] = []byte(text)
			}
		}
	}
	err := capture.Scan(columns, sent, targets) //nolint:contextcheck // it is in memory
	if err != nil && len(fields) > 1 {          // which of them?
		for i := range fields {
			if err := w.fill(ctx, model, fields[i:i+1], values[i:i+1]); err != nil {
				return err
			}
		}
		return nil
	}
	for i, field := range fields {
		if err == nil {
			owned(model.Elem(), field.StructField.Index)
			field.ReflectValueOf(ctx, model.Elem()).SetZero() // or a pointer's old target is overwritten
			err = field.Set(ctx, model.Elem(), targets[i])
		}
		field.NewValuePool.Put(targets[i])
		if err != nil && w.sensitive[field.DBName] {
			err = errors.New("it can't be read back; why would tell a sensitive value")
		}
		if err != nil {
			return fmt.Errorf("field %s: %w", field.BindName(), err)
		}
	}
	return nil
}

// owned copies the embedded structs on the way to a field that are reached by
// a pointer, which GORM marks by a negative index.
func owned(v reflect.Value, index []int) {
	for _, i := range index[:len(index)-1] {
		if i >= 0 {
			v = v.Field(i)
			continue
		}
		pointer := v.Field(-i - 1)
		fresh := reflect.New(pointer.Type().Elem())
		if !pointer.IsNil() {
			fresh.Elem().Set(pointer.Elem())
		}
		pointer.Set(fresh)
		v = fresh.Elem()
	}
}
