package reliabletest

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// RequireChanged ends the test unless a field changed from one value to another.
// It is named as in [reliable.Change.Changed]. Of a create, from is nil; of a
// destroy, to is. Numbers and strings need not have the field's own type.
func RequireChanged[T any](t testing.TB, c reliable.Change[T], field string, from, to any) {
	t.Helper()
	v, changed := values(t, c, field)
	switch {
	case !changed:
		t.Fatalf("reliabletest: %s did not change, want from %s to %s; changed: %s", field, show(from), show(to), columns(c))
	case !equal(v.Old, from) || !equal(v.New, to):
		t.Fatalf("reliabletest: %s changed from %s to %s, want from %s to %s; changed: %s", field, show(v.Old), show(v.New), show(from), show(to), columns(c))
	}
}

// RequireUnchanged ends the test if one of the fields changed.
func RequireUnchanged[T any](t testing.TB, c reliable.Change[T], fields ...string) {
	t.Helper()
	for _, field := range fields {
		if v, changed := values(t, c, field); changed {
			t.Fatalf("reliabletest: %s changed from %s to %s, want it unchanged; changed: %s", field, show(v.Old), show(v.New), columns(c))
		}
	}
}

// values is [reliable.Change.Values]; an unknown field ends the test.
func values[T any](t testing.TB, c reliable.Change[T], field string) (v reliable.Values, changed bool) {
	t.Helper()
	defer func() {
		if mistake := recover(); mistake != nil {
			t.Fatalf("reliabletest: %v", mistake)
		}
	}()
	return c.Values(field)
}

// columns names what changed. Values are left out: they may be sensitive.
func columns[T any](c reliable.Change[T]) string {
	names := slices.Sorted(maps.Keys(c.Changeset()))
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}

// equal compares a value of a changeset with one that a test wrote down.
func equal(got, want any) bool {
	g, w := reflect.Indirect(reflect.ValueOf(got)), reflect.Indirect(reflect.ValueOf(want))
	if !g.IsValid() || !w.IsValid() {
		return g.IsValid() == w.IsValid()
	}
	if at, ok := g.Interface().(time.Time); ok {
		wanted, ok := w.Interface().(time.Time)
		return ok && at.Equal(wanted)
	}
	if kind(g) != 0 && kind(g) == kind(w) && w.CanConvert(g.Type()) {
		converted := w.Convert(g.Type())
		return converted.Equal(g) && converted.Convert(w.Type()).Equal(w) // nothing was cut off
	}
	return reflect.DeepEqual(g.Interface(), w.Interface())
}

// kind puts numbers together, and strings; 0 is everything else.
func kind(v reflect.Value) int {
	switch {
	case v.CanInt() || v.CanUint() || v.CanFloat():
		return 1
	case v.Kind() == reflect.String:
		return 2
	default:
		return 0
	}
}

// show prints a value, not the address of one.
func show(v any) string {
	value := reflect.ValueOf(v)
	if value.Kind() == reflect.Pointer && !value.IsNil() {
		v = value.Elem().Interface()
	}
	return fmt.Sprintf("%#v", v)
}
