package capture

import (
	"context"
	"database/sql/driver"
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
	catalogs sync.Map // of *catalog by catalogKey
}

// Names of what rewritten statements refer to.
const (
	oldRow = "reliable__o"
	newRow = "reliable__n"
)

// insert implements [dialect].
func (d *postgres) insert(ctx context.Context, s *statement) (*outcome, error) {
	r, err := d.relation(ctx, s)
	if err != nil {
		return nil, err
	}
	switch conflict := s.upsert(); {
	case conflict == nil || conflict.DoNothing: // a row that conflicts is not returned
		return d.plain(ctx, s, r, func(row []any) Row { return Row{New: row} })
	case r.modern():
		return d.oldAndNew(ctx, s, r)
	default:
		return d.upsert(ctx, s, r, conflict)
	}
}

// update implements [dialect].
func (d *postgres) update(ctx context.Context, s *statement) (*outcome, error) {
	r, err := d.relation(ctx, s)
	if err != nil {
		return nil, err
	}
	if r.modern() {
		return d.oldAndNew(ctx, s, r)
	}
	keys, err := s.primaryKey()
	if err != nil {
		return nil, err
	}
	q, err := d.join(s, r, keys, true)
	if err == nil && len(q.vars) > maxVars {
		q, err = d.join(s, r, keys, false)
	}
	if err != nil {
		return nil, err
	}
	return d.pairs(ctx, s, q)
}

// remove implements [dialect].
func (d *postgres) remove(ctx context.Context, s *statement) (*outcome, error) {
	r, err := d.relation(ctx, s)
	if err != nil {
		return nil, err
	}
	return d.plain(ctx, s, r, func(row []any) Row { return Row{Old: row} })
}

// plain returns the statement's rows as they are.
func (d *postgres) plain(ctx context.Context, s *statement, r *relation, as func(row []any) Row) (*outcome, error) {
	q, err := s.extend(s.base, func(w *gorm.Statement) {
		put(w, " RETURNING ")
		s.list(w, s.name, r.columns)
		put(w, ",1 AS ", mark1)
		s.reply(w)
	})
	if err != nil {
		return nil, err
	}
	t, err := d.execute(ctx, s, q)
	if err != nil {
		return nil, err
	}
	images := t.before(mark1)
	out := &outcome{columns: images.columns, reply: t.after(mark1)}
	for _, row := range images.rows {
		out.rows = append(out.rows, as(row))
	}
	out.result = driver.RowsAffected(len(t.rows))
	return out, nil
}

// oldAndNew has PostgreSQL 18 return the rows before and after the statement.
// The first mark tells whether there was none before.
func (d *postgres) oldAndNew(ctx context.Context, s *statement, r *relation) (*outcome, error) {
	q, err := s.extend(s.base, func(w *gorm.Statement) {
		put(w, " RETURNING WITH (OLD AS ", oldRow, ",NEW AS ", newRow, ") ")
		s.list(w, newRow, r.columns)
		put(w, ",num_nonnulls(")
		s.list(w, oldRow, r.columns)
		put(w, ") = 0 AS ", mark1, ",")
		s.list(w, oldRow, r.columns)
		put(w, ",1 AS ", mark2)
		s.reply(w)
	})
	if err != nil {
		return nil, err
	}
	return d.pairs(ctx, s, q)
}

// pairs runs a statement that returns new and old rows; the first mark is true
// if there was no old one.
func (d *postgres) pairs(ctx context.Context, s *statement, q query) (*outcome, error) {
	t, err := d.execute(ctx, s, q)
	if err != nil {
		return nil, err
	}
	images := t.before(mark1)
	out := &outcome{columns: images.columns, reply: t.after(mark2)}
	n := len(images.columns)
	for _, row := range t.rows {
		captured := Row{New: row[:n:n], Old: row[n+1 : 2*n+1 : 2*n+1]}
		if row[n] == true {
			captured.Old = nil
		}
		out.rows = append(out.rows, captured)
	}
	out.result = driver.RowsAffected(len(t.rows))
	return out, nil
}

// join builds the UPDATE with its rows as they are before, locked, in FROM.
// The user's condition is repeated outside for the planner: without it an
// index on the condition is of no use to the UPDATE itself. The lock must not
// be stronger than the UPDATE's own: FOR UPDATE would stop inserts that refer
// to the row.
func (d *postgres) join(s *statement, r *relation, keys []string, repeat bool) (query, error) {
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
		for i, name := range r.columns {
			if i > 0 {
				put(w, ",")
			}
			s.column(w, name)
			put(w, " AS reliable__c", strconv.Itoa(i)) // its own name would be ambiguous in the user's clauses
		}
		put(w, " FROM ")
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
		s.list(w, s.name, r.columns)
		put(w, ",false AS ", mark1)
		for i, name := range r.columns {
			put(w, ",", oldRow, ".reliable__c", strconv.Itoa(i), " AS ")
			s.bare(w, name)
		}
		put(w, ",1 AS ", mark2)
		s.reply(w)
	})
}

// list writes columns of a table or its alias.
func (s *statement) list(w *gorm.Statement, table string, columns []string) {
	for i, name := range columns {
		if i > 0 {
			put(w, ",")
		}
		w.WriteQuoted(clause.Column{Table: table, Name: name})
	}
}

// reply writes what GORM or the user asked to have returned, behind the rest.
func (s *statement) reply(w *gorm.Statement) {
	if s.rows && s.askedAll() {
		put(w, ",")
		s.all(w) // not of the tables that are joined
		return
	}
	s.asked(w, ",")
}
