package capture

import (
	"context"
	"fmt"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// sqlite rewrites statements for SQLite. Where it reads before it writes, it
// takes the write lock first: nobody else changes a row in between, and a
// transaction that has read can't find that it is too late to write.
type sqlite struct{}

// insert implements [dialect].
func (sqlite) insert(ctx context.Context, s *statement) (*outcome, error) {
	if i, ok := s.db.Statement.Clauses["INSERT"].Expression.(clause.Insert); ok && strings.Contains(strings.ToUpper(i.Modifier), "REPLACE") {
		return nil, s.refuse("INSERT " + i.Modifier + " deletes rows unseen: use clause.OnConflict")
	}
	known := new(table)
	var keys [][]string
	if conflict := s.upsert(); conflict != nil && !conflict.DoNothing { // a row that conflicts with DO NOTHING is not returned
		keys = s.uniqueKeys(conflict)
		if err := lock(ctx, s); err != nil {
			return nil, err
		}
		var err error
		if known, err = s.conflicting(ctx, keys, "(VALUES ", ")", "", nil); err != nil {
			return nil, err
		}
		keys = s.steady(conflict, keys)
		if err := s.recognizable(known, keys); err != nil {
			return nil, err
		}
	}
	t, err := returning(ctx, s)
	if err != nil {
		return nil, err
	}
	images := t.before(mark1)
	out := s.outcome(images, t.after(mark1))
	old, err := match(known, images, keys)
	if err != nil {
		return nil, err
	}
	for i, row := range images.rows {
		out.rows = append(out.rows, Row{Old: old(i), New: row})
	}
	return out, sqliteResult(ctx, s, out, len(t.rows))
}

// update implements [dialect].
func (sqlite) update(ctx context.Context, s *statement) (*outcome, error) {
	keys, err := s.primaryKey()
	if err != nil {
		return nil, err
	}
	if err := lock(ctx, s); err != nil {
		return nil, err
	}
	var moved bool
	q, err := s.build(func(w *gorm.Statement) {
		moved = s.selectOld(w, keys, func(w *gorm.Statement) { put(w, "1") })
	})
	if err != nil {
		return nil, err
	}
	old, next, err := s.readOld(ctx, q)
	if err != nil {
		return nil, err
	}
	t, err := returning(ctx, s)
	if err != nil {
		return nil, err
	}
	images := t.before(mark1)
	out := s.outcome(images, t.after(mark1))
	now, err := images.keys(keys)
	if err != nil {
		return nil, err
	}
	if out.rows, err = pair(old, images, next, now, moved); err != nil {
		return nil, s.refuse(err.Error() + ": update them one by one")
	}
	return out, sqliteResult(ctx, s, out, len(t.rows))
}

// remove implements [dialect].
func (sqlite) remove(ctx context.Context, s *statement) (*outcome, error) {
	t, err := returning(ctx, s)
	if err != nil {
		return nil, err
	}
	images := t.before(mark1)
	out := s.outcome(images, t.after(mark1))
	for _, row := range images.rows {
		out.rows = append(out.rows, Row{Old: row})
	}
	return out, sqliteResult(ctx, s, out, len(t.rows))
}

// returning runs the statement and has it return all columns. SQLite changes
// all rows before it returns the first.
func returning(ctx context.Context, s *statement) (*table, error) {
	q, err := s.extend(s.base, func(w *gorm.Statement) {
		put(w, " RETURNING *,1 AS ", mark1)
		s.asked(w, ",")
	})
	if err != nil {
		return nil, err
	}
	t, err := s.execute(ctx, q)
	if t.failed() && len(t.rows) > 0 {
		s.written = true
	}
	return t, err
}

// lock takes the write lock.
func lock(ctx context.Context, s *statement) error {
	q, err := s.build(func(w *gorm.Statement) {
		column := s.db.Statement.Schema.DBNames[0]
		put(w, "UPDATE ")
		s.target(w)
		put(w, " SET ")
		s.bare(w, column)
		put(w, "=")
		s.bare(w, column)
		put(w, " WHERE 0")
	})
	if err != nil {
		return err
	}
	_, err = s.tx.raw.ExecContext(ctx, q.sql, q.vars...)
	return err
}

// sqliteResult answers an ExecContext as the driver would.
func sqliteResult(ctx context.Context, s *statement, out *outcome, rows int) error {
	if s.rows {
		return nil
	}
	r := result{rowsAffected: int64(rows)}
	if err := s.tx.raw.QueryRowContext(ctx, "SELECT last_insert_rowid()").Scan(&r.lastInsertID); err != nil {
		return fmt.Errorf("reliable: ask for the inserted rowid: %w", err)
	}
	out.result = r
	return nil
}

// result is what the driver would say of a statement.
type result struct{ lastInsertID, rowsAffected int64 }

// LastInsertId implements [sql.Result].
func (r result) LastInsertId() (int64, error) { return r.lastInsertID, nil }

// RowsAffected implements [sql.Result].
func (r result) RowsAffected() (int64, error) { return r.rowsAffected, nil }
