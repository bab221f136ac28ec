package capture

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// primaryKey returns the columns of the primary key, which an update needs:
// its rows are told apart by it.
func (s *statement) primaryKey() ([]string, error) {
	keys := s.primary()
	if len(keys) == 0 {
		return nil, fmt.Errorf("reliable: %s %s: a model without a primary key can't be captured: "+
			"tag a field with gorm:\"primaryKey\", or opt out with reliable.Skip", s.op, model(s.db))
	}
	return keys, nil
}

// userFrom returns what writes the tables of the user's own FROM clause, and
// whether there is one.
func (s *statement) userFrom() (write func(w *gorm.Statement), ok bool) {
	c := s.db.Statement.Clauses["FROM"]
	if c.Expression == nil || !slices.Contains(s.names, "FROM") {
		return nil, false
	}
	return func(w *gorm.Statement) { c.Expression.Build(w) }, true
}

// assignment returns what the UPDATE sets a column to. first tells that no
// other column is set before it.
func (s *statement) assignment(column string) (value any, first, ok bool) {
	set, _ := s.db.Statement.Clauses["SET"].Expression.(clause.Set)
	for i, a := range set {
		if s.isColumn(a.Column.Name, column) {
			return a.Value, i == 0, true
		}
	}
	return nil, false, false
}

// selectOld writes a SELECT of the rows that the UPDATE will change. Behind
// the first mark, which mark writes, are the keys that they will have. It
// reports whether they differ from those that they have.
func (s *statement) selectOld(w *gorm.Statement, keys []string, mark func(w *gorm.Statement)) (moved bool) {
	put(w, "SELECT ")
	s.all(w)
	put(w, ",")
	mark(w)
	put(w, " AS ", mark1)
	for i, key := range keys {
		put(w, ",")
		if value, _, ok := s.assignment(key); ok {
			w.AddVar(w, value)
			moved = true
		} else {
			s.column(w, key)
		}
		put(w, " AS reliable__k", strconv.Itoa(i))
	}
	put(w, " FROM ")
	s.target(w)
	if tables, ok := s.userFrom(); ok {
		put(w, ",")
		tables(w)
	}
	for _, name := range s.names {
		if name != "UPDATE" && name != "SET" && name != "FROM" {
			s.clause(w, name)
		}
	}
	return moved
}

// distinct drops the rows of t that the user's FROM clause gave twice.
func distinct(t *table, keys []string) {
	seen := make(map[string]bool, len(keys))
	i := 0
	t.rows = slices.DeleteFunc(t.rows, func([]any) bool {
		key := keys[i]
		i++
		again := seen[key]
		seen[key] = true
		return again
	})
}

// readOld runs a query of selectOld's and returns the rows before the update
// and the keys that they will have.
func (s *statement) readOld(ctx context.Context, q query) (old *table, next []string, err error) {
	t, err := s.read(ctx, q)
	if err != nil {
		return nil, nil, err
	}
	coming := t.after(mark1)
	if next, err = coming.keys(coming.columns); err != nil {
		return nil, nil, err
	}
	if _, ok := s.userFrom(); ok {
		distinct(t, next)
		coming = t.after(mark1)
		if next, err = coming.keys(coming.columns); err != nil {
			return nil, nil, err
		}
	}
	if len(t.rows) > s.maxRows && s.maxRows > 0 {
		return nil, nil, s.tooMany(len(t.rows))
	}
	return t.before(mark1), next, nil
}
