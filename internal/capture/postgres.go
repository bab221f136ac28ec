package capture

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strconv"
	"sync"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// maxVars is how many variables PostgreSQL and MariaDB take in a statement.
const maxVars = 65535

// postgres rewrites statements for PostgreSQL. From version 18 on RETURNING
// gives a row's old values; before, they come from rows that the statement
// itself locks and joins.
type postgres struct {
	versions sync.Map // of int by *sql.DB
}

// Names of what rewritten statements refer to.
const (
	oldRow = "reliable__o"
	newRow = "reliable__n"
)

// insert implements [dialect].
func (d *postgres) insert(ctx context.Context, s *statement) (*outcome, error) {
	conflict := s.upsert()
	if conflict == nil || conflict.DoNothing { // a row that conflicts is not returned
		return d.plain(ctx, s, func(_, row []any) Row { return Row{New: row} })
	}
	modern, err := d.modern(ctx, s)
	if err != nil {
		return nil, err
	}
	if modern {
		return d.oldAndNew(ctx, s)
	}
	return d.upsert(ctx, s, conflict)
}

// update implements [dialect].
func (d *postgres) update(ctx context.Context, s *statement) (*outcome, error) {
	modern, err := d.modern(ctx, s)
	if err != nil {
		return nil, err
	}
	if modern {
		return d.oldAndNew(ctx, s)
	}
	keys, err := s.primaryKey()
	if err != nil {
		return nil, err
	}
	q, err := d.join(s, keys, true)
	if err == nil && len(q.vars) > maxVars {
		q, err = d.join(s, keys, false)
	}
	if err != nil {
		return nil, err
	}
	return d.pairs(ctx, s, q, func(any) bool { return false })
}

// remove implements [dialect].
func (d *postgres) remove(ctx context.Context, s *statement) (*outcome, error) {
	return d.plain(ctx, s, func(_, row []any) Row { return Row{Old: row} })
}

// plain returns the statement's rows as they are.
func (d *postgres) plain(ctx context.Context, s *statement, as func(old, row []any) Row) (*outcome, error) {
	q, err := s.extend(s.base, func(w *gorm.Statement) {
		put(w, " RETURNING *, 1 AS ", mark1)
		s.asked(w, ",")
	})
	if err != nil {
		return nil, err
	}
	t, err := s.execute(ctx, q)
	if err != nil {
		return nil, err
	}
	images := t.before(mark1)
	out := s.outcome(images, t.after(mark1))
	for _, row := range images.rows {
		out.rows = append(out.rows, as(nil, row))
	}
	out.result = driver.RowsAffected(len(t.rows))
	return out, nil
}

// oldAndNew has PostgreSQL 18 return the rows before and after the statement.
func (d *postgres) oldAndNew(ctx context.Context, s *statement) (*outcome, error) {
	q, err := s.extend(s.base, func(w *gorm.Statement) {
		put(w, " RETURNING WITH (OLD AS ", oldRow, ", NEW AS ", newRow, ") ",
			newRow, ".*, (", oldRow, " IS NULL) AS ", mark1, ", ", oldRow, ".*, 1 AS ", mark2)
		s.asked(w, ",")
	})
	if err != nil {
		return nil, err
	}
	return d.pairs(ctx, s, q, func(absent any) bool { return absent == true })
}

// pairs runs a statement that returns new and old rows; inserted tells by the
// first mark whether there was no old one.
func (d *postgres) pairs(ctx context.Context, s *statement, q query, inserted func(mark any) bool) (*outcome, error) {
	t, err := s.execute(ctx, q)
	if err != nil {
		return nil, err
	}
	images := t.before(mark1)
	out := s.outcome(images, t.after(mark2))
	n := len(images.columns)
	for _, row := range t.rows {
		r := Row{New: row[:n:n], Old: row[n+1 : 2*n+1 : 2*n+1]}
		if inserted(row[n]) {
			r.Old = nil
		}
		out.rows = append(out.rows, r)
	}
	out.result = driver.RowsAffected(len(t.rows))
	return out, nil
}

// join builds the UPDATE with its rows as they are before, locked, in FROM.
// The user's condition is repeated outside for the planner: without it an
// index on the condition is of no use to the UPDATE itself. The lock must not
// be stronger than the UPDATE's own: FOR UPDATE would stop inserts that refer
// to the row.
func (d *postgres) join(s *statement, keys []string, repeat bool) (query, error) {
	from := func(w *gorm.Statement) {
		put(w, " FROM ")
		tables, joins := s.userFrom()
		if joins {
			tables(w)
			put(w, ",")
		}
		put(w, "(SELECT ")
		for i, key := range keys {
			s.column(w, key)
			put(w, " AS reliable__k", strconv.Itoa(i), ",")
		}
		put(w, "coalesce(") // a bare t would be a column of that name, if there is one
		s.all(w)
		put(w, ") AS reliable__r FROM ")
		s.target(w)
		if joins {
			put(w, ",")
			tables(w)
		}
		s.condition(w, " WHERE ")
		put(w, " FOR NO KEY UPDATE OF ")
		w.WriteQuoted(clause.Table{Name: s.name})
		put(w, ") AS ", oldRow)
	}
	where := func(w *gorm.Statement) {
		for i, key := range keys {
			if i == 0 {
				put(w, " WHERE ")
			} else {
				put(w, " AND ")
			}
			s.column(w, key)
			put(w, "=", oldRow, ".reliable__k", strconv.Itoa(i))
		}
		if _, joins := s.userFrom(); repeat || joins {
			s.condition(w, " AND ")
		}
	}
	return s.build(func(w *gorm.Statement) {
		for _, name := range s.names {
			switch name {
			case "FROM":
			case "WHERE":
				from(w)
				where(w)
			default:
				s.clause(w, name)
			}
		}
		put(w, " RETURNING ")
		s.all(w)
		put(w, ",1 AS ", mark1, ",(", oldRow, ".reliable__r).*,1 AS ", mark2)
		s.asked(w, ",")
	})
}

// upsert locks and reads the rows that the INSERT conflicts with, before it
// runs. A row that another session inserts in between is updated without its
// old values being known.
func (d *postgres) upsert(ctx context.Context, s *statement, conflict *clause.OnConflict) (*outcome, error) {
	target, err := d.conflictTarget(ctx, s, conflict)
	if err != nil {
		return nil, err
	}
	known := new(table)
	if tuples := s.tuples(target); len(tuples) > 0 {
		q, err := s.build(func(w *gorm.Statement) {
			put(w, "SELECT * FROM ")
			s.target(w)
			put(w, " WHERE ")
			s.in(w, target, tuples, "(", ")")
			put(w, " FOR NO KEY UPDATE")
		})
		if err != nil {
			return nil, err
		}
		if known, err = s.read(ctx, q); err != nil {
			return nil, err
		}
	}
	q, err := s.extend(s.base, func(w *gorm.Statement) {
		put(w, " RETURNING *,(xmax = 0) AS ", mark1)
		s.asked(w, ",")
	})
	if err != nil {
		return nil, err
	}
	t, err := s.execute(ctx, q)
	if err != nil {
		return nil, err
	}
	images := t.before(mark1)
	out := s.outcome(images, t.after(mark1))
	old, err := match(known, images, [][]string{s.primary(), target})
	if err != nil {
		return nil, err
	}
	for i, row := range images.rows {
		r := Row{New: row}
		if inserted := t.rows[i][len(images.columns)]; inserted != true {
			r.Old = old(i)
			r.OldUnknown = r.Old == nil
		}
		out.rows = append(out.rows, r)
	}
	out.result = driver.RowsAffected(len(t.rows))
	return out, nil
}

// modern reports whether the server is PostgreSQL 18 or later. It is asked
// once per pool.
func (d *postgres) modern(ctx context.Context, s *statement) (bool, error) {
	const first = 180000
	pool, err := s.db.DB()
	if err != nil {
		return false, nil //nolint:nilerr // a pool that we can't name: the way of earlier versions works everywhere
	}
	if version, ok := d.versions.Load(pool); ok {
		return version.(int) >= first, nil
	}
	var text string
	if err := s.tx.raw.QueryRowContext(ctx, "SHOW server_version_num").Scan(&text); err != nil {
		return false, fmt.Errorf("reliable: ask for the server's version: %w", err)
	}
	version, err := strconv.Atoi(text)
	if err != nil {
		return false, fmt.Errorf("reliable: server version %q: %w", text, err)
	}
	d.versions.Store(pool, version)
	return version >= first, nil
}

// conflictTarget returns the columns that the INSERT's ON CONFLICT names; nil
// if it names expressions.
func (d *postgres) conflictTarget(ctx context.Context, s *statement, conflict *clause.OnConflict) ([]string, error) {
	if conflict.OnConstraint == "" {
		return s.columnNames(conflict.Columns), nil
	}
	q, err := s.build(func(w *gorm.Statement) { // an empty table has no conflicts
		put(w, "SELECT a.attname FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey) "+
			"WHERE c.conrelid = (SELECT tableoid FROM ")
		s.target(w)
		put(w, " LIMIT 1) AND c.conname = ")
		w.AddVar(w, conflict.OnConstraint)
	})
	if err != nil {
		return nil, err
	}
	t, err := s.read(ctx, q)
	if err != nil {
		return nil, err
	}
	columns := make([]string, 0, len(t.rows))
	for _, row := range t.rows {
		columns = append(columns, keyText(row[0]))
	}
	return columns, nil
}
