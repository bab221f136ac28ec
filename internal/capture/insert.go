package capture

import (
	"context"
	"slices"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/schema"
)

// upsert returns what the INSERT does about rows that exist; nil is an error.
func (s *statement) upsert() *clause.OnConflict {
	c, ok := s.db.Statement.Clauses["ON CONFLICT"]
	if !ok || !slices.Contains(s.names, "ON CONFLICT") {
		return nil
	}
	conflict, _ := c.Expression.(clause.OnConflict)
	return &conflict
}

// values returns what the INSERT inserts.
func (s *statement) values() clause.Values {
	values, _ := s.db.Statement.Clauses["VALUES"].Expression.(clause.Values)
	return values
}

// tuples returns the values that the INSERT gives to the columns, one tuple per
// row. A row is left out if it leaves one of them to the database, or gives it
// NULL: nothing is known of its conflicts, or it has none.
func (s *statement) tuples(columns []string) [][]any {
	values := s.values()
	at := make([]int, len(columns))
	for i, column := range columns {
		at[i] = slices.IndexFunc(values.Columns, func(c clause.Column) bool { return s.isColumn(c.Name, column) })
		if at[i] < 0 {
			return nil
		}
	}
	if len(columns) == 0 {
		return nil
	}
	var tuples [][]any
rows:
	for _, row := range values.Values {
		tuple := make([]any, len(at))
		for i, j := range at {
			if tuple[i] = row[j]; tuple[i] == nil {
				continue rows
			}
			if e, ok := tuple[i].(clause.Expr); ok && (e.SQL == "DEFAULT" || e.SQL == "NULL") {
				continue rows
			}
		}
		tuples = append(tuples, tuple)
	}
	return tuples
}

// isColumn reports whether a name in a clause, of a field or a column, is the
// column's.
func (s *statement) isColumn(name, column string) bool {
	if name == column {
		return true
	}
	if name == clause.PrimaryKey {
		f := s.db.Statement.Schema.PrioritizedPrimaryField
		return f != nil && f.DBName == column
	}
	f := s.db.Statement.Schema.LookUpField(name)
	return f != nil && f.DBName == column
}

// in writes that the columns have one of the tuples' values. The list of
// tuples of two columns or more stands between before and after.
func (s *statement) in(w *gorm.Statement, columns []string, tuples [][]any, before, after string) {
	if len(columns) == 1 {
		s.bare(w, columns[0])
		put(w, " IN (")
		for i, tuple := range tuples {
			if i > 0 {
				put(w, ",")
			}
			w.AddVar(w, tuple[0])
		}
		put(w, ")")
		return
	}
	put(w, "(")
	for i, column := range columns {
		if i > 0 {
			put(w, ",")
		}
		s.bare(w, column)
	}
	put(w, ") IN ", before)
	for i, tuple := range tuples {
		if i > 0 {
			put(w, ",")
		}
		put(w, "(")
		w.AddVar(w, tuple...)
		put(w, ")")
	}
	put(w, after)
}

// bare writes a column's name alone.
func (s *statement) bare(w *gorm.Statement, column string) {
	w.WriteQuoted(clause.Column{Name: column})
}

// uniqueKeys returns the keys that the INSERT may conflict on, as far as the
// clause and the schema tell: the conflict's columns, the primary key, unique
// fields and unique indexes.
func (s *statement) uniqueKeys(conflict *clause.OnConflict) [][]string {
	var keys [][]string
	add := func(columns []string) {
		if len(columns) > 0 && !slices.ContainsFunc(keys, func(k []string) bool { return slices.Equal(k, columns) }) {
			keys = append(keys, columns)
		}
	}
	add(s.primary())
	add(s.columnNames(conflict.Columns))
	sch := s.db.Statement.Schema
	for _, field := range sch.Fields {
		if field.Unique && field.DBName != "" {
			add([]string{field.DBName})
		}
	}
	for _, index := range sch.ParseIndexes() {
		if index.Class == "UNIQUE" {
			add(indexed(index))
		}
	}
	return keys
}

// steady returns the keys by which a row is found again that the INSERT updated:
// none of their columns is set, but to itself or the value that conflicted.
func (s *statement) steady(conflict *clause.OnConflict, keys [][]string) [][]string {
	moves := func(column string) bool {
		return slices.ContainsFunc(conflict.DoUpdates, func(a clause.Assignment) bool {
			to, ok := a.Value.(clause.Column)
			return s.isColumn(a.Column.Name, column) && (!ok || !s.isColumn(to.Name, column))
		})
	}
	return slices.DeleteFunc(slices.Clone(keys), func(key []string) bool { return slices.ContainsFunc(key, moves) })
}

// recognizable returns an error if a row that the INSERT updates could be taken
// for one that it inserts: it sets the primary key, and no other of the keys
// stays that the row has. One of several rows may also meet a row that the same
// INSERT has just made.
func (s *statement) recognizable(known *table, keys [][]string) error {
	if slices.ContainsFunc(keys, func(key []string) bool { return slices.Equal(key, s.primary()) }) {
		return nil
	}
	found := make([]bool, len(known.rows))
	for _, key := range keys {
		if len(known.rows) == 0 || !known.has(key) {
			continue
		}
		texts, err := known.keys(key)
		if err != nil {
			return err
		}
		for i, text := range texts {
			found[i] = found[i] || text != ""
		}
	}
	if slices.Contains(found, false) || len(s.values().Values) > 1 {
		return s.refuse("ON CONFLICT sets the primary key, and no other unique key tells which row it was: update the row by itself")
	}
	return nil
}

// indexed returns an index's columns; nil if it has expressions.
func indexed(index *schema.Index) []string {
	columns := make([]string, 0, len(index.Fields))
	for _, option := range index.Fields {
		if option.Field == nil || option.Expression != "" {
			return nil
		}
		columns = append(columns, option.DBName)
	}
	return columns
}

// columnNames returns the columns' names in the database; nil if one is an
// expression.
func (s *statement) columnNames(columns []clause.Column) []string {
	names := make([]string, 0, len(columns))
	for _, column := range columns {
		name := column.Name
		switch f := s.db.Statement.Schema.LookUpField(name); {
		case name == clause.PrimaryKey && s.db.Statement.Schema.PrioritizedPrimaryField != nil:
			name = s.db.Statement.Schema.PrioritizedPrimaryField.DBName
		case f != nil && f.DBName != "":
			name = f.DBName
		case column.Raw:
			return nil
		}
		names = append(names, name)
	}
	return names
}

// conflicting reads the rows that the INSERT may conflict with by one of the
// keys. A list of tuples stands between before and after; suffix ends each
// SELECT; more, if it is not nil, adds columns.
func (s *statement) conflicting(ctx context.Context, keys [][]string, before, after, suffix string, more expression) (*table, error) {
	all := new(table)
	for _, key := range keys {
		tuples := s.tuples(key)
		if len(tuples) == 0 {
			continue
		}
		q, err := s.build(func(w *gorm.Statement) {
			put(w, "SELECT *")
			if more != nil {
				more(w)
			}
			put(w, " FROM ")
			s.target(w)
			put(w, " WHERE ")
			s.in(w, key, tuples, before, after)
			put(w, suffix)
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
	return all, nil
}
