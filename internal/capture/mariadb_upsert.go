package capture

import (
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// met is the variable by which an upsert tells the rows that it met from those
// that it inserted.
const met = "@reliable__met"

// upsert captures an INSERT ... ON DUPLICATE KEY UPDATE. RETURNING also returns
// the rows that were there, changed or not, so that each is noted: the first
// assignment, which sees the row as it was, sets a variable to its key, and
// RETURNING, which is evaluated row by row, reads and clears it. The old values
// come from a read of the rows that may conflict, which locks them. Of a row
// that another session has inserted since (at READ COMMITTED nothing keeps it
// from it), or that conflicts by a key that the schema does not tell, they are
// not known.
func (mariadb) upsert(ctx context.Context, s *statement, conflict *clause.OnConflict) (*outcome, error) {
	keys, err := s.primaryKey()
	if err != nil {
		return nil, err
	}
	known := new(table)
	if !s.idle(conflict) {
		known, err = s.conflicting(ctx, s.uniqueKeys(conflict), "(", ")", " AND ("+met+":=NULL) IS NULL FOR UPDATE", func(w *gorm.Statement) {
			put(w, ",")
			s.keyCode(w, keys)
			put(w, " AS ", mark1)
		})
		if err != nil {
			return nil, err
		}
	}
	if len(known.columns) == 0 { // the variable must exist: else the server takes it for a constant
		if _, err := s.tx.raw.ExecContext(ctx, "SET "+met+"=NULL"); err != nil {
			return nil, err
		}
	}
	nonce := strconv.FormatUint(rand.Uint64(), 36) + ":" // not what a statement that failed left over
	q, err := s.noting(conflict, keys, nonce)
	if err != nil {
		return nil, err
	}
	t, err := s.execute(ctx, q)
	if err != nil {
		return nil, err
	}
	return s.upserted(conflict, known, t, nonce), nil
}

// idle reports whether the upsert leaves a row that it meets as it is: GORM and
// its driver write DO NOTHING as a column set to itself.
func (s *statement) idle(conflict *clause.OnConflict) bool {
	return !slices.ContainsFunc(conflict.DoUpdates, func(a clause.Assignment) bool {
		to, ok := a.Value.(clause.Column)
		return !ok || to.Table == "excluded" || !s.isColumn(to.Name, a.Column.Name)
	})
}

// upserted makes the outcome of an upsert.
func (s *statement) upserted(conflict *clause.OnConflict, known, t *table, nonce string) *outcome {
	was := make(map[string][]any, len(known.rows)) // by key
	if len(known.rows) > 0 {
		old := known.before(mark1)
		old.normalize()
		for i, row := range known.rows {
			was[keyText(row[len(old.columns)])] = old.rows[i]
		}
	}
	images := t.before(mark1)
	n := len(images.columns)
	out := s.outcome(images, t.after(mark2))
	if s.askedAll() {
		out.reply = t.before(mark1) // with the driver's values
	}
	images.normalize()
	r := result{lastInsertID: s.insertID(images)}
	for i, row := range images.rows {
		key, noted := strings.CutPrefix(keyText(t.rows[i][n+1]), nonce)
		old := was[key]
		delete(was, key)
		was[keyText(t.rows[i][n])] = row // which the next may meet
		switch {
		case !noted:
			out.rows = append(out.rows, Row{New: row})
			r.rowsAffected++
		case s.idle(conflict), old != nil && slices.EqualFunc(old, row, same):
		default:
			out.rows = append(out.rows, Row{Old: old, New: row, OldUnknown: old == nil})
			r.rowsAffected += 2
		}
	}
	out.result = r
	return out
}

// noting builds the upsert. Its first assignment sets the variable besides: a
// column that only the note sets would not be missed by the server if the
// INSERT leaves it out, and setting one twice loses a BLOB. The variable is
// read together with a column, for otherwise the server reads it once.
func (s *statement) noting(conflict *clause.OnConflict, keys []string, nonce string) (query, error) {
	updates := slices.Clone(conflict.DoUpdates)
	if len(updates) == 0 { // as the driver does for DO NOTHING
		column := clause.Column{Name: s.db.Statement.Schema.DBNames[0]}
		if field := s.db.Statement.Schema.PrioritizedPrimaryField; field != nil {
			column.Name = field.DBName
		}
		updates = clause.Set{{Column: column, Value: column}}
	}
	first := updates[0]
	updates[0].Value = expression(func(w *gorm.Statement) {
		put(w, "IF((", met, ":=CONCAT(")
		w.AddVar(w, nonce)
		put(w, ",")
		s.keyCode(w, keys)
		put(w, ")) IS NULL,NULL,")
		assigned(w, first)
		put(w, ")")
	})
	noting := *conflict
	noting.DoNothing, noting.DoUpdates = false, updates
	c := s.db.Statement.Clauses["ON CONFLICT"]
	c.Expression = noting
	s.built.Clauses["ON CONFLICT"] = c
	return s.build(func(w *gorm.Statement) {
		w.Build(s.names...)
		put(w, " RETURNING *,")
		s.keyCode(w, keys)
		put(w, " AS ", mark1, ",CONCAT(", met, ",LEFT(")
		s.bare(w, keys[0])
		put(w, ",0)) AS reliable__met,(", met, ":=NULL) AS ", mark2)
		s.asked(w, ",")
	})
}

// assigned writes the value of an assignment so that it may stand in an
// expression.
func assigned(w *gorm.Statement, a clause.Assignment) {
	switch v := a.Value.(type) {
	case clause.Column:
		if v.Table == "excluded" {
			put(w, "VALUES(")
			w.WriteQuoted(clause.Column{Name: v.Name})
			put(w, ")")
			return
		}
	case clause.Expr:
		if v.SQL == "DEFAULT" {
			put(w, "DEFAULT(")
			w.WriteQuoted(a.Column)
			put(w, ")")
			return
		}
	}
	w.AddVar(w, a.Value)
}

// keyCode writes an expression of a row's primary key, a text.
func (s *statement) keyCode(w *gorm.Statement, keys []string) {
	put(w, "CONCAT_WS('/'")
	for _, key := range keys {
		put(w, ",HEX(")
		s.bare(w, key)
		put(w, ")")
	}
	put(w, ")")
}

// expression is SQL of capture's own in a clause of the user's.
type expression func(w *gorm.Statement)

// Build implements [clause.Expression].
func (e expression) Build(b clause.Builder) {
	if w, ok := b.(*gorm.Statement); ok { // always: it is capture that builds
		e(w)
	}
}
