package capture

import (
	"context"
	"database/sql/driver"
	"strconv"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// upsert captures an INSERT ... ON CONFLICT DO UPDATE before PostgreSQL 18.
// There, nothing gives a row's old values, or tells an inserted row from an
// updated one (views and most partitions have no xmax). But the condition of DO
// UPDATE sees the locked row just before it is updated, and RETURNING runs just
// after: the one notes the row as text in a setting that lasts until the
// transaction's end, the other reads and clears it. The note begins with the
// statement's time, so that one which was left over counts for nothing.
func (d *postgres) upsert(ctx context.Context, s *statement, r *relation, conflict *clause.OnConflict) (*outcome, error) {
	noting := *conflict
	noting.Where = clause.Where{Exprs: []clause.Expression{note{s, r, conflict.Where}}}
	c := s.db.Statement.Clauses["ON CONFLICT"]
	c.Expression = noting
	s.built.Clauses["ON CONFLICT"] = c
	q, err := s.build(func(w *gorm.Statement) {
		put(w, "WITH reliable__w AS (")
		w.Build(s.names...)
		put(w, " RETURNING ")
		s.list(w, s.name, r.columns)
		put(w, ",CASE WHEN starts_with(current_setting('reliable.old',true),statement_timestamp()::text || '{')"+
			" THEN substr(current_setting('reliable.old'),length(statement_timestamp()::text) + 1) END AS ", mark1,
			",set_config('reliable.old','',true) AS ", mark2)
		s.reply(w)
		put(w, ") SELECT reliable__w.*")
		for i, name := range r.columns {
			put(w, ",", oldRow, ".r[", strconv.Itoa(i+1), "]::", r.types[i], " AS ")
			s.bare(w, name)
		}
		put(w, " FROM reliable__w,LATERAL (SELECT ", mark1, "::text[] AS r OFFSET 0) AS ", oldRow)
	})
	if err != nil {
		return nil, err
	}
	t, err := d.execute(ctx, s, q)
	if err != nil {
		return nil, err
	}
	images := t.before(mark1)
	n, end := len(images.columns), len(t.columns)
	out := &outcome{columns: images.columns, reply: t.cut(n+2, end-n)}
	for _, row := range t.rows {
		captured := Row{New: row[:n:n], Old: row[end-n:]}
		if row[n] == nil {
			captured.Old = nil
		}
		out.rows = append(out.rows, captured)
	}
	out.result = driver.RowsAffected(len(t.rows))
	if t.failed() {
		return out, nil
	}
	return out, d.suppressed(ctx, s, out.rows, images, t.cut(end-n, end))
}

// note is the condition of DO UPDATE that notes the row for which the user's
// own condition holds.
type note struct {
	s    *statement
	r    *relation
	user clause.Where
}

// Build implements [clause.Expression].
func (n note) Build(b clause.Builder) {
	w, ok := b.(*gorm.Statement)
	if !ok {
		return
	}
	put(w, "CASE WHEN ")
	if len(n.user.Exprs) > 0 {
		n.user.Build(w)
	} else {
		put(w, "true")
	}
	put(w, " THEN set_config('reliable.old',concat(statement_timestamp(),ARRAY[")
	for i, name := range n.r.columns {
		if i > 0 {
			put(w, ",")
		}
		n.s.column(w, name)
		put(w, "::text")
	}
	put(w, "]),true) <> '' ELSE false END")
}

// suppressed finds the inserted rows among those that seem to have changed
// their primary key: a BEFORE trigger may suppress an update after its row was
// noted, and the next row, if it is inserted, has the note. Then the noted row
// is still there, as it was: not one that the INSERT has made or moved there.
func (d *postgres) suppressed(ctx context.Context, s *statement, rows []Row, now, was *table) error {
	keys := s.primary()
	next, err := now.keys(keys)
	if err != nil {
		return err
	}
	before, err := was.keys(keys)
	if err != nil {
		return err
	}
	returned := make(map[string]bool, len(next))
	for _, key := range next {
		returned[key] = true
	}
	var tuples [][]any
	for i, row := range rows {
		if row.Old == nil || returned[before[i]] {
			continue
		}
		var tuple []any
		for _, key := range keys {
			tuple = append(tuple, row.Old[was.index(key)])
		}
		tuples = append(tuples, tuple)
	}
	if len(tuples) == 0 {
		return nil
	}
	q, err := s.build(func(w *gorm.Statement) {
		put(w, "SELECT * FROM ")
		s.target(w)
		put(w, " WHERE ")
		s.in(w, keys, tuples, "(", ")")
	})
	if err != nil {
		return err
	}
	t, err := s.read(ctx, q)
	if err != nil {
		return err
	}
	left, err := t.keys(keys)
	if err != nil {
		return err
	}
	there := make(map[string]bool, len(left))
	for _, key := range left {
		there[key] = true
	}
	for i := range rows {
		if rows[i].Old != nil && next[i] != before[i] && there[before[i]] {
			rows[i].Old = nil
		}
	}
	return nil
}
