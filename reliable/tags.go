package reliable

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"gorm.io/gorm/schema"
)

// The words of a field's tag `reliable:"..."`, separated by commas. On an
// embedded struct they count for all of its fields.
const (
	wordLeaveOut  = "-"         // the field is not recorded
	wordSensitive = "sensitive" // recorded for callbacks, masked for everybody else
)

// tagged calls each for every tag of a field's: its own, and those of the
// embedded structs that it is in. The name is the path to what is tagged.
func tagged(field *schema.Field, each func(name, word string)) {
	typ := field.Schema.ModelType
	var path []string
	for _, i := range field.StructField.Index {
		if typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		if i < 0 { // GORM's mark of an embedded pointer
			i = -i - 1
		}
		f := typ.Field(i)
		path, typ = append(path, f.Name), f.Type
		tag, ok := f.Tag.Lookup("reliable")
		if !ok {
			continue
		}
		for word := range strings.SplitSeq(tag, ",") {
			each(strings.Join(path, "."), strings.TrimSpace(word))
		}
	}
}

// has reports whether one of a field's tags has the word.
func has(field *schema.Field, wanted string) bool {
	found := false
	tagged(field, func(_, word string) { found = found || word == wanted })
	return found
}

// leftOut reports whether a field is not recorded: its tag says so, or it is
// write-only.
func leftOut(field *schema.Field) bool { return !field.Readable || has(field, wordLeaveOut) }

// filter reads the tags. It returns all mistakes at once.
func (w *watch) filter() error {
	w.out, w.sensitive = make(map[string]bool), make(map[string]bool)
	var errs []error
	told := make(map[string]bool)
	wrong := func(name, format string, args ...any) {
		err := fmt.Errorf("%s.%s: "+format, append([]any{w.typ, name}, args...)...)
		if !told[err.Error()] {
			told[err.Error()] = true
			errs = append(errs, err)
		}
	}
	for _, field := range w.schema.Fields {
		tagged(field, func(name, word string) {
			switch {
			case word != wordLeaveOut && word != wordSensitive:
				wrong(name, "tag reliable:%q is unknown: want %q or %q", word, wordLeaveOut, wordSensitive)
			case field.DBName == "" && word == wordSensitive:
				wrong(name, "tag reliable:%q is on what is no column: tag the fields of the model that has them", word)
			}
		})
		if field.DBName == "" {
			continue
		}
		switch {
		case !field.PrimaryKey:
			w.out[field.DBName], w.sensitive[field.DBName] = leftOut(field), has(field, wordSensitive)
		case !field.Readable:
			wrong(field.BindName(), "the primary key is write-only: entries could not name the row; make it readable")
		case leftOut(field):
			wrong(field.BindName(), "tag reliable:%q is on the primary key: entries could not name the row; drop the tag", wordLeaveOut)
		case has(field, wordSensitive):
			wrong(field.BindName(), "tag reliable:%q is on the primary key, which entries show as resource_id: "+
				"drop the tag, or make another field the primary key", wordSensitive)
		}
	}
	for _, c := range w.callbacks {
		for _, name := range c.whenChanged {
			if field, err := lookUpField(w.schema, name); err == nil && w.out[field.DBName] {
				wrong(field.BindName(), "callback %q: WhenChanged names a field that is left out of changesets: "+
					"make it readable and drop the tag reliable:%q, or drop the condition", c.name, wordLeaveOut)
			}
		}
	}
	return errors.Join(errs...)
}
