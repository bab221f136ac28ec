package reliable

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"time"

	"gorm.io/gorm/schema"
)

// fill sets fields of a model, a *T, to driver values, as a query of GORM's
// does: by the conversions of database/sql into what the field scans with, and
// from there into the field. Where a query fails, so does fill; Field.Set alone
// would wrap integers around. Nothing that model points to is written to: it may
// be another model's.
func (w *watch) fill(ctx context.Context, model reflect.Value, fields []*schema.Field, values []any) error {
	for i, field := range fields {
		value := values[i]
		if text, ok := value.(string); ok && w.bytes {
			value = []byte(text)
		}
		if err := fillField(ctx, model.Elem(), field, value); err != nil {
			if w.sensitive[field.DBName] {
				err = errors.New("it can't be read back; why would tell a sensitive value")
			}
			return fmt.Errorf("field %s: %w", field.BindName(), err)
		}
	}
	return nil
}

func fillField(ctx context.Context, model reflect.Value, field *schema.Field, value any) error {
	target := field.NewValuePool.Get()
	defer field.NewValuePool.Put(target)
	if err := scan(target, value); err != nil {
		return err
	}
	owned(model, field.StructField.Index)
	field.ReflectValueOf(ctx, model).SetZero() // or a pointer's old target is overwritten
	return field.Set(ctx, model, target)
}

// scan stores a driver value in what a field scans with: a serializer, or a **T
// for a field of type T or *T.
func scan(target, value any) error {
	if serializer, ok := target.(sql.Scanner); ok {
		return serializer.Scan(value)
	}
	pointer := reflect.ValueOf(target).Elem()
	if value == nil {
		pointer.SetZero()
		return nil
	}
	fresh := reflect.New(pointer.Type().Elem())
	pointer.Set(fresh)
	if scanner, ok := fresh.Interface().(sql.Scanner); ok {
		return scanner.Scan(value)
	}
	typ := fresh.Elem().Type()
	converted, err := convert(typ, value)
	if err == nil && !converted.CanConvert(typ) {
		err = fmt.Errorf("a %T can't be stored in a %s", value, typ)
	}
	if err == nil {
		fresh.Elem().Set(converted.Convert(typ))
	}
	return err
}

// convert returns a driver value as the type that a type is made of.
func convert(typ reflect.Type, value any) (reflect.Value, error) {
	switch typ.Kind() {
	case reflect.Bool:
		return as[bool](value)
	case reflect.Int:
		return as[int](value)
	case reflect.Int8:
		return as[int8](value)
	case reflect.Int16:
		return as[int16](value)
	case reflect.Int32:
		return as[int32](value)
	case reflect.Int64:
		return as[int64](value)
	case reflect.Uint:
		return as[uint](value)
	case reflect.Uint8:
		return as[uint8](value)
	case reflect.Uint16:
		return as[uint16](value)
	case reflect.Uint32:
		return as[uint32](value)
	case reflect.Uint64:
		return as[uint64](value)
	case reflect.Float32:
		return as[float32](value)
	case reflect.Float64:
		return as[float64](value)
	case reflect.String:
		return as[string](value)
	case reflect.Slice:
		return as[[]byte](value)
	default:
		return as[time.Time](value)
	}
}

// as converts a driver value as database/sql does.
func as[T any](value any) (reflect.Value, error) {
	var v sql.Null[T]
	err := v.Scan(value)
	return reflect.ValueOf(v.V), err
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
