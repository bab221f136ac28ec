package programs_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"gorm.io/gorm"
	"pgregory.net/rapid"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// maxDepth is how deep blocks nest.
const maxDepth = 3

// drawStep draws an operation, or a block of them that is in depth others.
func drawStep(depth int, inside bool) func(t *rapid.T) step {
	return func(t *rapid.T) step {
		kind := rapid.IntRange(0, 26).Draw(t, "kind")
		switch {
		case kind < 4:
			return update(t)
		case kind < 7:
			return create(t)
		case kind < 9:
			return upsert(t)
		case kind < 11:
			return save(t)
		case kind < 13:
			return remove(t)
		case kind < 15:
			return relate(t)
		case kind < 16:
			return firstOr(t)
		case kind < 17:
			return restore(t)
		case kind < 18:
			return generic(t)
		case kind < 19:
			return skipped(t)
		case kind < 20 && inside:
			return record(t)
		case kind < 21 && inside:
			return point(t)
		case depth >= maxDepth:
			return update(t)
		case kind < 23 && inside:
			return savepoint(t, depth)
		case kind < 26 || inside:
			return transaction(t, depth, inside)
		default:
			return connection(t, depth)
		}
	}
}

func steps(t *rapid.T, depth int, inside bool) []step {
	return some(t, 1, 5, drawStep(depth+1, inside))
}

// ending is how a block ends.
type ending string

const (
	commits  ending = "commit"
	fails    ending = "return an error"
	panics   ending = "panic"
	rolls    ending = "rollback"
	careless ending = "commit, whatever happened"
)

var errBlock = errors.New("no")

// end ends the function of a transaction.
func (e ending) end(err error) error {
	switch e {
	case fails:
		return errBlock
	case panics:
		panic(string(panics))
	case careless:
		return nil
	default:
		return err
	}
}

// transaction draws a transaction: GORM's, the plugin's, or one begun and
// ended by hand. Within another one it nests.
func transaction(t *rapid.T, depth int, inside bool) step {
	kind := pick(t, "transaction", "reliable.Transaction", "db.Transaction", "Begin")
	if inside && kind == "Begin" {
		kind = "db.Transaction"
	}
	body := steps(t, depth, true)
	if kind == "Begin" {
		return byHand(t, body)
	}
	end := pick(t, "end", commits, careless, fails, panics)
	level := isolation(t)
	head := kind
	if level != sql.LevelDefault {
		head += "(" + level.String() + ")"
	}
	return block(head, body, string(end), func(m *machine, db *gorm.DB) (err error) {
		defer func() {
			if v := recover(); v != nil {
				if v != string(panics) {
					panic(v)
				}
				m.note("  panic")
			}
		}()
		run := func(tx *gorm.DB) error { return end.end(m.all(body, tx, end != careless)) }
		if kind == "reliable.Transaction" {
			return aborted(m.transaction(db, run, m.options(level)...))
		}
		return db.Transaction(run, m.options(level)...)
	})
}

// aborted makes one of two errors: of a transaction that PostgreSQL has aborted,
// because of an error that the program did not look at, the COMMIT tells, or,
// before it, the INSERT of the entries that waited for it.
func aborted(err error) error {
	if err != nil && (strings.Contains(err.Error(), "commit unexpectedly resulted in rollback") || strings.Contains(err.Error(), "SQLSTATE 25P02")) {
		return errors.New("the transaction is aborted")
	}
	return err
}

func isolation(t *rapid.T) sql.IsolationLevel {
	if !once(t, 6, "isolation") {
		return sql.LevelDefault
	}
	return pick(t, "level", sql.LevelReadCommitted, sql.LevelRepeatableRead, sql.LevelSerializable)
}

// options are those of a transaction; SQLite has one level.
func (m *machine) options(level sql.IsolationLevel) []*sql.TxOptions {
	if level == sql.LevelDefault || m.lab.dialect.String() == "sqlite" {
		return nil
	}
	return []*sql.TxOptions{{Isolation: level}}
}

// byHand makes a block of Begin and Commit or Rollback.
func byHand(t *rapid.T, body []step) step {
	end := pick(t, "end", commits, careless, rolls)
	return block("Begin", body, string(end), func(m *machine, db *gorm.DB) error {
		tx := db.Begin()
		if tx.Error != nil {
			return tx.Error
		}
		defer func() { _ = tx.Rollback() }()
		if err := m.all(body, tx, end != careless); err != nil || end == rolls {
			if tx.Statement.Context.Err() == nil { // else it may be rolled back already
				err = errors.Join(err, tx.Rollback().Error)
			}
			return err
		}
		return tx.Commit().Error
	})
}

// savepoint draws a block between SavePoint and RollbackTo.
func savepoint(t *rapid.T, depth int) step {
	name := pick(t, "savepoint", "s", "r")
	body := steps(t, depth, true)
	end := pick(t, "end", rolls, careless)
	return block("SavePoint("+name+")", body, string(end), func(m *machine, tx *gorm.DB) error {
		if err := tx.SavePoint(name).Error; err != nil {
			return err
		}
		err := m.all(body, tx, end != careless)
		if err != nil || end == rolls {
			return tx.RollbackTo(name).Error
		}
		return nil
	})
}

// point draws what only a transaction has.
func point(t *rapid.T) step {
	switch pick(t, "point", "savepoint", "rollback", "cancel") {
	case "savepoint":
		name := pick(t, "savepoint", "s", "r")
		return op("SavePoint("+name+")", func(_ *machine, tx *gorm.DB) error { return tx.SavePoint(name).Error })
	case "rollback":
		name := pick(t, "savepoint", "s", "r")
		return op("RollbackTo("+name+")", func(_ *machine, tx *gorm.DB) error { return tx.RollbackTo(name).Error })
	default:
		return op("cancel()", func(_ *machine, tx *gorm.DB) error {
			cancel(tx)
			return nil
		})
	}
}

// record draws an entry that the application records itself. Without the
// plugin, it is only marked.
func record(t *rapid.T) step {
	n := number(t, 9, "event")
	return op(fmt.Sprintf("Record(%d)", n), func(m *machine, tx *gorm.DB) error {
		if m.captured {
			_, err := reliable.Record(tx.Statement.Context, tx, reliable.Entry{Context: recorded, EventName: fmt.Sprint(n)})
			if err != nil {
				return errors.New(strings.TrimPrefix(err.Error(), fmt.Sprintf("reliable: record %s.%d: ", recorded, n)))
			}
		}
		return m.mark(tx, n)
	})
}

// connection draws a block on a connection of its own. It is not cancelled:
// outside a transaction SQLite's driver does not look at the context, and the
// plugin's transaction does.
func connection(t *rapid.T, depth int) step {
	body := steps(t, depth, false)
	return block("Connection", body, "", func(m *machine, db *gorm.DB) error {
		return db.Connection(func(tx *gorm.DB) error {
			ctx := context.WithValue(tx.Statement.Context, cancelKey{}, nil)
			return m.all(body, tx.Session(&gorm.Session{NewDB: true, Context: ctx}), false)
		})
	})
}

// drawProgram draws a program.
func drawProgram(t *rapid.T) program {
	return program{
		session: session{
			prepared: once(t, 5, "prepared"), implicit: once(t, 6, "no default transaction"),
			flat: once(t, 8, "no nested transactions"), update: once(t, 12, "save associations"),
		},
		steps: some(t, 1, 7, drawStep(0, false)),
	}
}
