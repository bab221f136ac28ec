package matrix_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// scenario is a write and what the writer sees of it.
type scenario struct {
	name  string
	run   func(db *gorm.DB) string
	stage func(t *testing.T, d testdb.Dialect) outcome // instead of run: it makes its own databases
	only  []testdb.Dialect                             // where it can be done
	why   string                                       // some of it can't be captured; empty = all of it is
	blind []testdb.Dialect                             // where row triggers don't see that either
	never bool                                         // it is refused with AllowUncaptured, too
}

// group is the scenarios that stand together on the page.
type group struct {
	title     string
	scenarios []scenario
}

var errNo = errors.New("no")

// seen renders what a writer sees.
func seen(tx *gorm.DB, models ...any) string {
	list := []string{fmt.Sprintf("%d rows, error %v", tx.RowsAffected, tx.Error)}
	for _, m := range models {
		text, err := json.Marshal(m)
		list = append(list, fmt.Sprintf("%s %v", text, err))
	}
	return strings.Join(list, "\n")
}

// one makes a scenario of a write of a model.
func one[T any](name string, model *T, run func(db *gorm.DB, m *T) *gorm.DB) scenario {
	return scenario{name: name, run: func(db *gorm.DB) string {
		m := clone(reflect.ValueOf(model)).Interface().(*T)
		return seen(run(db, m), *m)
	}}
}

// several makes a scenario of a write that returns rows, which SQL gives no
// order.
func several[T any](name string, run func(db *gorm.DB, rows *[]T) *gorm.DB) scenario {
	return scenario{name: name, run: func(db *gorm.DB) string {
		var rows []T
		tx := run(db, &rows)
		texts := make([]string, len(rows))
		for i := range rows {
			texts[i] = seen(tx, rows[i])
		}
		slices.Sort(texts)
		return seen(tx, texts)
	}}
}

// bare makes a scenario of a write whose model does not matter.
func bare(name string, run func(db *gorm.DB) *gorm.DB) scenario {
	return scenario{name: name, run: func(db *gorm.DB) string { return seen(run(db)) }}
}

// steps makes a scenario of several writes, and of the errors that they give.
func steps(name string, run func(db *gorm.DB) []error) scenario {
	return scenario{name: name, run: func(db *gorm.DB) string { return fmt.Sprint(run(db)) }}
}

// on limits a scenario to some databases.
func on(s scenario, dialects ...testdb.Dialect) scenario {
	s.only = dialects
	return s
}

// because says why a scenario's changes, or some of them, are not captured.
func because(why string, s scenario) scenario {
	s.why = why
	return s
}

// refusedAlways says that AllowUncaptured makes no difference.
func refusedAlways(s scenario) scenario {
	s.never = true
	return s
}

// scrub takes out what differs from run to run: the name of a test's database,
// and keys that it made at random.
func scrub(text string) string {
	return regexp.MustCompile(`reliable_test_[0-9]+_[a-z0-9]{12}|[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`).ReplaceAllString(text, "*")
}

// clone copies a model and all that it points to: a write changes it.
func clone(v reflect.Value) reflect.Value {
	fresh := reflect.New(v.Type()).Elem()
	fresh.Set(v)
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			fresh.Set(reflect.New(v.Type().Elem()))
			fresh.Elem().Set(clone(v.Elem()))
		}
	case reflect.Slice:
		if !v.IsNil() {
			fresh.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
			for i := range v.Len() {
				fresh.Index(i).Set(clone(v.Index(i)))
			}
		}
	case reflect.Map:
		if v.IsNil() {
			break
		}
		fresh.Set(reflect.MakeMap(v.Type()))
		for key, value := range v.Seq2() {
			fresh.SetMapIndex(key, value)
		}
	case reflect.Array:
		for i := range v.Len() {
			fresh.Index(i).Set(clone(v.Index(i)))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() && v.Type() != reflect.TypeFor[time.Time]() {
				fresh.Field(i).Set(clone(v.Field(i)))
			}
		}
	}
	return fresh
}
