// Package codec writes the changes of a row as JSON and reads them back
// without loss.
//
// A value is what a database/sql driver delivers: nil, bool, int64, float64,
// string, []byte or time.Time. JSON can carry some of them as they are; the
// others are written as text, with a one-letter hint per column that says how
// to read them back (see [Kind]).
package codec

// Kind is the hint of a column whose values JSON cannot carry as they are.
type Kind byte

// The hints. Plain columns hold null, booleans, numbers and valid UTF-8 text.
const (
	Plain Kind = 0
	Bytes Kind = 'b' // []byte, base64
	Text  Kind = 's' // a string that is not valid UTF-8, base64
	Time  Kind = 't' // time.Time, RFC 3339 with nanoseconds, offset kept; years beyond 9999 by their own form
	Float Kind = 'f' // float64: numbers, or "NaN", "Infinity", "-Infinity"
)

// Pair is a column's values before and after a write. For a create, Old is
// nil; for a destroy, New is.
type Pair struct {
	Old, New any
}

// Changeset is what a write did to one row.
type Changeset struct {
	Key         map[string]any  // primary key columns, after the write (before it for a destroy)
	Columns     map[string]Pair // create and destroy: all columns; update: those that changed
	SoftDeleted bool            // a destroy that kept the row
	Restored    bool            // an update that undid a soft delete
	OldUnknown  bool            // the values before the write could not be had: every Old is nil
}
