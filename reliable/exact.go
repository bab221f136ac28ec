package reliable

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"unicode/utf8"
)

// errInexact says that text would not come back as it is.
var errInexact = errors.New("hold text that is not valid UTF-8, which JSON would change: make it a []byte, or encode it")

// exact reports a document that is not all of v, of which it was made.
func exact(document []byte, v any) error {
	if !utf8.Valid(document) || replaced(document) && garbled(reflect.ValueOf(v)) {
		return errInexact
	}
	return nil
}

// marshalHeaders returns headers as JSON.
func marshalHeaders(headers map[string]string) (json.RawMessage, error) {
	document, err := json.Marshal(headers)
	if err != nil {
		return nil, err
	}
	return document, exact(document, headers)
}

// replaced reports whether encoding/json may have put the replacement character
// in the place of what is not UTF-8. It escapes that one, but none that was in a
// text; documents that others wrote may have it, too.
func replaced(document []byte) bool {
	const escape = `\ufffd`
	for {
		at := bytes.Index(document, []byte(escape))
		if at < 0 {
			return false
		}
		if backslashes := at - len(bytes.TrimRight(document[:at], `\`)); backslashes%2 == 0 {
			return true
		}
		document = document[at+len(escape):]
	}
}

// garbled reports whether a value that encoding/json has taken holds text that
// is not UTF-8. What makes its JSON itself is left to itself.
func garbled(v reflect.Value) bool {
	if !v.IsValid() || v.Type().Implements(reflect.TypeFor[json.Marshaler]()) {
		return false
	}
	switch v.Kind() {
	case reflect.String:
		return !utf8.ValidString(v.String())
	case reflect.Pointer, reflect.Interface:
		return garbled(v.Elem())
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if garbled(v.Index(i)) {
				return true
			}
		}
	case reflect.Map:
		for entries := v.MapRange(); entries.Next(); {
			if garbled(entries.Key()) || garbled(entries.Value()) {
				return true
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); (f.IsExported() || f.Anonymous) && f.Tag.Get("json") != "-" && garbled(v.Field(i)) {
				return true
			}
		}
	default:
	}
	return false
}
