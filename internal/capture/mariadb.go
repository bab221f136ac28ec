package capture

import (
	"context"
	"fmt"
	"slices"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// mariadb rewrites statements for MariaDB, which has RETURNING for INSERT and
// DELETE, and none for UPDATE: there the rows are read and locked before, and
// read again after.
//
// Each statement has a variable among its columns. The driver sends it by the
// binary protocol then, unless it is told to interpolate: a value read before
// and one read after have come by the same protocol.
type mariadb struct{}

// insert implements [dialect].
func (d mariadb) insert(ctx context.Context, s *statement) (*outcome, error) {
	if conflict := s.upsert(); conflict != nil {
		return d.upsert(ctx, s, conflict)
	}
	out, images, err := starReturning(ctx, s)
	if err != nil {
		return nil, err
	}
	for _, row := range images.rows {
		out.rows = append(out.rows, Row{New: row})
	}
	out.result = result{lastInsertID: s.insertID(images), rowsAffected: int64(len(images.rows))}
	return out, nil
}

// update implements [dialect]. The UPDATE is held to the rows that were read:
// at READ COMMITTED others may have come to match since.
func (mariadb) update(ctx context.Context, s *statement) (*outcome, error) {
	keys, err := s.primaryKey()
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if value, first, ok := s.assignment(key); ok && !first && isExpression(value) { // it sees what was set before it
			return nil, s.refuse("the primary key is set to an expression, whose value MariaDB does not tell: set a plain value")
		}
	}
	var moved bool
	q, err := s.build(func(w *gorm.Statement) {
		moved = s.selectOld(w, keys, func(w *gorm.Statement) { w.AddVar(w, 1) })
		put(w, " FOR UPDATE")
	})
	if err != nil {
		return nil, err
	}
	old, next, tuples, err := s.readOldKeys(ctx, q)
	if err != nil {
		return nil, err
	}
	if err := s.exactKeys(old, keys); err != nil {
		return nil, err
	}
	out, affected, err := updateOnly(ctx, s, keys, old)
	if err != nil {
		return nil, err
	}
	if len(old.rows) == 0 || affected == 0 {
		return out, nil
	}
	images, err := s.readAgain(ctx, keys, tuples)
	if err != nil {
		return nil, err
	}
	now, err := images.keys(keys)
	if err != nil {
		return nil, err
	}
	out.columns = images.columns
	if out.rows, err = pair(old, images, next, now, moved); err != nil {
		return nil, s.refuse(err.Error() + ": update them one by one")
	}
	if len(out.rows) != len(old.rows) {
		return nil, s.refuse(fmt.Sprintf("%d rows were updated and %d are there: a trigger, or a type that the value does not fit, changed the primary key",
			len(old.rows), len(out.rows)))
	}
	return out, nil
}

// remove implements [dialect].
func (mariadb) remove(ctx context.Context, s *statement) (*outcome, error) {
	out, images, err := starReturning(ctx, s)
	if err != nil {
		return nil, err
	}
	for _, row := range images.rows {
		out.rows = append(out.rows, Row{Old: row})
	}
	out.result = result{rowsAffected: int64(len(images.rows))}
	return out, nil
}

// starReturning runs the statement with RETURNING, where MariaDB wants the
// asterisk first. A condition that can't be true is answered with no columns.
func starReturning(ctx context.Context, s *statement) (*outcome, *table, error) {
	q, err := s.extend(s.base, func(w *gorm.Statement) {
		put(w, " RETURNING *,")
		w.AddVar(w, 1)
		put(w, " AS ", mark1)
		s.asked(w, ",")
	})
	if err != nil {
		return nil, nil, err
	}
	t, err := s.execute(ctx, q)
	if err != nil {
		return nil, nil, err
	}
	images := t.before(mark1)
	out := s.outcome(images, t.after(mark1))
	if s.askedAll() {
		out.reply = t.before(mark1) // with the driver's values
	}
	images.normalize()
	return out, images, nil
}

// readOldKeys is readOld, with the values of the keys that the rows will have.
func (s *statement) readOldKeys(ctx context.Context, q query) (old *table, next []string, tuples [][]any, err error) {
	t, err := s.read(ctx, q)
	if err != nil {
		return nil, nil, nil, err
	}
	if len(t.rows) > s.maxRows && s.maxRows > 0 {
		return nil, nil, nil, s.tooMany(len(t.rows))
	}
	t.normalize()
	old = t.before(mark1)
	coming := t.after(mark1)
	if next, err = coming.keys(coming.columns); err != nil {
		return nil, nil, nil, err
	}
	return old, next, coming.rows, nil
}

// updateOnly runs the UPDATE on the rows that were read.
func updateOnly(ctx context.Context, s *statement, keys []string, old *table) (*outcome, int64, error) {
	at := make([]int, len(keys))
	for i, key := range keys {
		at[i] = old.index(key)
	}
	tuples := make([][]any, len(old.rows))
	for i, row := range old.rows {
		tuples[i] = make([]any, len(at))
		for j, k := range at {
			tuples[i][j] = row[k]
		}
	}
	q, err := s.build(func(w *gorm.Statement) {
		for _, name := range s.names {
			if name != "WHERE" {
				s.clause(w, name)
				continue
			}
			put(w, " WHERE ")
			if len(tuples) == 0 {
				put(w, "1=0")
			} else {
				s.in(w, keys, tuples, "(", ")")
			}
			s.condition(w, " AND ")
		}
		s.clause(w, "RETURNING") // MariaDB has none: the error is the user's
	})
	if err != nil {
		return nil, 0, err
	}
	if s.rows {
		t, err := s.execute(ctx, q)
		if err != nil {
			return nil, 0, err
		}
		return &outcome{columns: old.columns, reply: t}, int64(len(t.rows)), nil
	}
	if err := ctx.Err(); err != nil { // not sent
		return nil, 0, err
	}
	r, err := s.tx.raw.ExecContext(ctx, q.sql, q.vars...)
	s.written = err == nil || ctx.Err() != nil
	if err != nil {
		return nil, 0, err
	}
	n, err := r.RowsAffected()
	return &outcome{columns: old.columns, result: r}, n, err
}

// readAgain reads the rows with the given keys as they are now.
func (s *statement) readAgain(ctx context.Context, keys []string, tuples [][]any) (*table, error) {
	all := new(table)
	for part := range slices.Chunk(tuples, maxVars/(len(keys)+1)) {
		q, err := s.build(func(w *gorm.Statement) {
			put(w, "SELECT * FROM ")
			s.target(w)
			put(w, " WHERE ")
			s.in(w, keys, part, "(", ")")
			put(w, " FOR UPDATE") // a read of the snapshot would miss what others committed
		})
		if err != nil {
			return nil, err
		}
		t, err := s.read(ctx, q)
		if err != nil {
			return nil, err
		}
		t.rows = append(all.rows, t.rows...)
		all = t
	}
	all.normalize()
	return all, nil
}

// insertID is the key that the driver would have told: the first one that was
// generated, or else the last.
func (s *statement) insertID(images *table) int64 {
	for _, field := range s.db.Statement.Schema.Fields {
		at := images.index(field.DBName)
		if !field.AutoIncrement || at < 0 || len(images.rows) == 0 {
			continue
		}
		row := images.rows[len(images.rows)-1]
		if len(s.tuples([]string{field.DBName})) < len(s.values().Values) || len(s.values().Columns) == 0 {
			row = images.rows[0]
		}
		id, _ := row[at].(int64)
		return id
	}
	return 0
}

// isExpression reports whether a value of a SET clause is SQL.
func isExpression(value any) bool {
	switch value.(type) {
	case clause.Expression, clause.Column, clause.Table, gorm.Valuer, *gorm.DB, []any:
		return true
	default:
		return false
	}
}
