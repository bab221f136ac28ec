// Package capture learns from the database which rows a GORM write changed,
// with their values before and after, without changing what the writer sees.
package capture

import "gorm.io/gorm"

// Operation tells which of GORM's write callbacks runs. It is not what
// happened to a row: a Create may update (upsert), a Delete may be an UPDATE
// (soft delete).
type Operation uint8

// GORM's write callbacks.
const (
	Create Operation = iota + 1
	Update
	Delete
)

// Row is one row that a statement changed, as the database returned it. The
// values are raw driver values in the order of Set.Columns.
type Row struct {
	Old        []any // nil: the row was inserted, or OldUnknown
	New        []any // nil: the row was deleted
	OldUnknown bool  // the row existed, but its values before the write can't be had
}

// Set is what one statement did to its table.
type Set struct {
	Operation Operation
	Columns   []string
	Rows      []Row
}

// Hook is what wants to know of writes.
type Hook interface {
	// Watches reports whether the rows of db.Statement's write are wanted. An
	// error refuses the write before it is sent.
	Watches(db *gorm.DB, op Operation) (bool, error)

	// Record stores what the statement did. It is called right after the
	// statement, for at least one row, and db.Statement.ConnPool is the
	// transaction that the statement ran in, past any statement cache of the
	// user's. An error rolls that transaction back at once. Record reports
	// whether Recorded is to tell it of the commit.
	Record(db *gorm.DB, set *Set) (tell bool, err error)

	// Recorded is called after a Record that asked for it: with committed set,
	// once the transaction is committed; without, when it is the user's and
	// still open.
	Recorded(committed bool)

	// RolledBack is called after the capture has rolled the user's transaction
	// tx back, with the reason.
	RolledBack(tx gorm.ConnPool, cause error)
}

// Options limit what is captured.
type Options struct {
	RequireTransaction bool // refuse a watched write outside a transaction
	MaxRows            int  // refuse a statement that changed more rows
}
