package programs_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// show renders a value as Go would be written, without zero fields.
func show(v any) string { return render(reflect.ValueOf(v)) }

func render(v reflect.Value) string {
	if !v.IsValid() {
		return "nil"
	}
	switch x := v.Interface().(type) {
	case clause.Expr:
		return "Expr(" + strings.Join(append([]string{x.SQL}, shows(x.Vars)...), ", ") + ")"
	case time.Time:
		return x.Format(time.RFC3339)
	case gorm.DeletedAt:
		return "deleted"
	case []byte:
		return fmt.Sprintf("%v", x)
	case string:
		return fmt.Sprintf("%q", x)
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return "nil"
		}
		return "&" + render(v.Elem())
	case reflect.Struct:
		var fields []string
		for i := range v.NumField() {
			if !v.Field(i).IsZero() {
				fields = append(fields, v.Type().Field(i).Name+": "+render(v.Field(i)))
			}
		}
		return v.Type().Name() + "{" + strings.Join(fields, ", ") + "}"
	case reflect.Slice:
		items := make([]string, v.Len())
		for i := range items {
			items[i] = strings.TrimPrefix(render(v.Index(i)), v.Type().Elem().Name())
		}
		return "[]" + v.Type().Elem().Name() + "{" + strings.Join(items, ", ") + "}"
	case reflect.Map:
		var items []string
		for key, value := range v.Seq2() {
			items = append(items, fmt.Sprint(key)+": "+render(reflect.ValueOf(value.Interface())))
		}
		slices.Sort(items)
		return "map{" + strings.Join(items, ", ") + "}"
	default:
		return fmt.Sprint(v.Interface())
	}
}

func shows(values []any) []string {
	list := make([]string, len(values))
	for i, v := range values {
		list[i] = show(v)
	}
	return list
}
