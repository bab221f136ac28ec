// Package codec writes the changes of a row as JSON and reads them back
// without loss.
//
// A value is what a database/sql driver delivers: nil, bool, int64, uint64,
// float32, float64, string, []byte or time.Time. What JSON has is written as it
// is: null, true, 12, 1.5, "text". A number with a point or an exponent is a
// float, one without is an integer. The rest is an object with one member that
// says how to read it:
//
//	{"t":"2026-11-24T08:00:00.123456789+01:00"}  a time; beyond the years 0 to 9999 {"t":"@seconds.nanoseconds"}, since 1970
//	{"b":"AP8="}                                 []byte, base64
//	{"s":"/w=="}                                 a string that is not UTF-8, base64
//	{"f":"NaN"}                                  a float that JSON lacks: NaN, Infinity or -Infinity
package codec

import (
	"bytes"
	"math"
	"time"
)

// Version is the format that Encode writes.
const Version = 1

// Names of the document's members.
const (
	memberVersion     = "v"
	memberKey         = "key"
	memberSet         = "set"
	memberSensitive   = "sensitive"
	memberSoftDeleted = "soft_deleted"
	memberRestored    = "restored"
	memberOldUnknown  = "old_unknown"
)

// Pair is a column's values before and after a write. For a create, Old is
// nil; for a destroy, New is.
type Pair struct {
	Old, New any
}

// Column is a value by its column's name.
type Column struct {
	Name  string
	Value any
}

// Key is a primary key.
type Key []Column

// Get returns a column's value, and whether the key has that column.
func (k Key) Get(name string) (value any, ok bool) {
	for _, column := range k {
		if column.Name == name {
			return column.Value, true
		}
	}
	return nil, false
}

// Changeset is what a write did to one row.
type Changeset struct {
	Key         Key             // primary key columns, after the write (before it for a destroy)
	Columns     map[string]Pair // create and destroy: all columns; update: those that changed
	Sensitive   []string        // columns whose values are for callbacks only
	SoftDeleted bool            // a destroy that kept the row
	Restored    bool            // an update that undid a soft delete
	OldUnknown  bool            // the values before the write could not be had: every Old is nil
}

// Equal reports whether two driver values are the same: times by instant,
// bytes by content, NaN with NaN, integers by value.
func Equal(a, b any) bool {
	switch a := a.(type) {
	case time.Time:
		b, ok := b.(time.Time)
		return ok && a.Equal(b)
	case []byte:
		b, ok := b.([]byte)
		return ok && bytes.Equal(a, b)
	case float32:
		return Equal(float64(a), b)
	case float64:
		if narrow, ok := b.(float32); ok {
			b = float64(narrow)
		}
		b, ok := b.(float64)
		return ok && (a == b && math.Signbit(a) == math.Signbit(b) || math.IsNaN(a) && math.IsNaN(b))
	case uint64:
		if b, ok := b.(int64); ok {
			return b >= 0 && a == uint64(b)
		}
	case int64:
		if b, ok := b.(uint64); ok {
			return a >= 0 && b == uint64(a)
		}
	}
	return a == b
}
