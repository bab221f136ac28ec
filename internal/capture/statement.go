package capture

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// call is what GORM asked of its ConnPool.
type call struct {
	query string
	args  []any
	rows  bool // QueryContext
}

// outcome is what a statement did, and the answer to GORM's call.
type outcome struct {
	columns []string
	rows    []Row
	result  sql.Result // answers ExecContext
	reply   *table     // answers QueryContext
}

// dialect rewrites statements so that the database returns the rows they
// change. GORM's clauses tell what kind of statement it is: a soft delete is
// an update.
type dialect interface {
	insert(ctx context.Context, s *statement) (*outcome, error)
	update(ctx context.Context, s *statement) (*outcome, error)
	remove(ctx context.Context, s *statement) (*outcome, error)

	// ended reports whether the database has ended the transaction tx by
	// itself, when one of its statements failed with err.
	ended(ctx context.Context, tx gorm.ConnPool, err error) bool
}

// statement is one intercepted write.
type statement struct {
	call
	tx      *transaction
	db      *gorm.DB // GORM's; only read
	op      Operation
	maxRows int

	built   *gorm.Statement // a copy of GORM's, to build SQL with
	names   []string        // its clauses, in order, without RETURNING
	base    query           // its SQL up to RETURNING
	name    string          // of its table in expressions: the alias, if there is one
	written bool            // the database has executed it, or may have
}

// query is SQL with its variables.
type query struct {
	sql  string
	vars []any
}

// run executes the statement and captures its rows.
func (s *statement) run(ctx context.Context, d dialect) (*outcome, error) {
	update, err := s.prepare()
	if err != nil {
		return nil, err
	}
	var out *outcome
	switch {
	case update:
		out, err = d.update(ctx, s)
	case s.op == Create:
		out, err = d.insert(ctx, s)
	default:
		out, err = d.remove(ctx, s)
	}
	if err != nil {
		return nil, err
	}
	if out.reply.failed() {
		out.rows = nil
	}
	return out, nil
}

// prepare makes the copy that SQL is built with, and proves that the copy
// gives GORM's own SQL. It reports whether that is an UPDATE.
func (s *statement) prepare() (update bool, err error) {
	tx := s.db.Session(&gorm.Session{Context: s.db.Statement.Context})
	s.built = tx.Statement
	s.name = s.db.Statement.Table
	if s.op == Delete && s.has("UPDATE") && s.has("SET") {
		if ok, err := s.reproduce(s.db.Callback().Update().Clauses); ok || err != nil {
			s.rename("UPDATE")
			return true, err
		}
	}
	ok, err := s.reproduce(s.db.Statement.BuildClauses)
	if err == nil && !ok {
		err = fmt.Errorf("reliable: %s %s: its SQL is not what its clauses give, so that its rows can't be captured: "+
			"find the callback or plugin that rewrites it, or opt out with reliable.Skip", s.op, model(s.db))
	}
	if s.op == Update {
		s.rename("UPDATE")
	}
	return s.op == Update, err
}

// reproduce builds the clauses and reports whether GORM's SQL is theirs.
func (s *statement) reproduce(names []string) (bool, error) {
	s.names = make([]string, 0, len(names))
	for _, name := range names {
		if name != "RETURNING" {
			s.names = append(s.names, name)
		}
	}
	base, err := s.build(func(w *gorm.Statement) { w.Build(s.names...) })
	if err != nil {
		return false, err
	}
	rest, ok := strings.CutPrefix(s.query, base.sql)
	if !ok || len(base.vars) > len(s.args) || rest != "" && !strings.HasPrefix(rest, " RETURNING ") {
		return false, nil
	}
	s.base = query{base.sql, s.args[:len(base.vars):len(base.vars)]}
	return true, nil
}

// rename follows a table that the user's own UPDATE clause names.
func (s *statement) rename(clauseName string) {
	if u, ok := s.db.Statement.Clauses[clauseName].Expression.(clause.Update); ok && u.Table.Name != "" && u.Table.Name != clause.CurrentTable {
		s.name = u.Table.Name
		if u.Table.Alias != "" {
			s.name = u.Table.Alias
		}
	}
}

// execute runs the rewritten statement, through the user's statement cache. If
// GORM asked for rows, an error in their midst is the table's, and the
// statement has failed; GORM gets the rows up to there, as from the driver. An
// error after ctx has ended tells nothing of what the database did, unless it
// had ended before.
func (s *statement) execute(ctx context.Context, q query) (*table, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	rows, err := s.tx.conn.QueryContext(ctx, q.sql, q.vars...)
	if err != nil {
		s.written = ctx.Err() != nil
		return nil, err
	}
	s.written = true
	t, err := buffer(rows, s.maxRows)
	switch {
	case err != nil:
		return nil, err
	case t.err != nil:
		s.written = ctx.Err() != nil
		if s.written || !s.rows {
			return nil, t.err
		}
	case t.dropped > 0:
		return nil, s.tooMany(len(t.rows) + t.dropped)
	}
	return t, nil
}

// read runs a query of capture's own, past the user's statement cache.
func (s *statement) read(ctx context.Context, q query) (*table, error) {
	rows, err := s.tx.raw.QueryContext(ctx, q.sql, q.vars...)
	if err != nil {
		return nil, err
	}
	t, err := buffer(rows, 0)
	if err == nil {
		err = t.err
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// outcome answers GORM's call with the columns that it asked for, or with
// all.
func (s *statement) outcome(images, asked *table) *outcome {
	if s.askedAll() {
		asked = images
	}
	return &outcome{columns: images.columns, reply: asked}
}

// has reports whether the statement has the clause.
func (s *statement) has(name string) bool {
	_, ok := s.db.Statement.Clauses[name]
	return ok
}

// build lets write make SQL from nothing.
func (s *statement) build(write func(w *gorm.Statement)) (query, error) {
	return s.extend(query{}, write)
}

// extend lets write add to q.
func (s *statement) extend(q query, write func(w *gorm.Statement)) (query, error) {
	w := s.built
	w.SQL.Reset()
	w.SQL.Grow(len(s.query) + 256) // a batch is long
	w.SQL.WriteString(q.sql)
	w.Vars = append(make([]any, 0, len(s.args)+8), q.vars...)
	w.Error = nil
	write(w)
	return query{w.SQL.String(), w.Vars}, w.Error
}

// clause writes a clause of the statement, if it has it, after a space.
func (s *statement) clause(w *gorm.Statement, name string) {
	if s.has(name) {
		if w.SQL.Len() > 0 {
			_ = w.WriteByte(' ')
		}
		w.Build(name)
	}
}

// condition writes the user's WHERE in parentheses; it reports whether there
// is one.
func (s *statement) condition(w *gorm.Statement, before string) bool {
	c, ok := s.db.Statement.Clauses["WHERE"]
	if !ok || c.Expression == nil {
		return false
	}
	put(w, before, "(")
	c.Expression.Build(w)
	put(w, ")")
	return true
}

// asked writes what GORM or the user asked to have returned, after before. An
// asterisk is not written: all columns are captured anyway.
func (s *statement) asked(w *gorm.Statement, before string) {
	if s.rows && !s.askedAll() {
		put(w, before)
		s.db.Statement.Clauses["RETURNING"].Expression.Build(w)
	}
}

func (s *statement) askedAll() bool {
	r, ok := s.db.Statement.Clauses["RETURNING"].Expression.(clause.Returning)
	return ok && len(r.Columns) == 0
}

// target writes the table that the statement writes to, with its alias.
func (s *statement) target(w *gorm.Statement) {
	table := clause.Table{Name: clause.CurrentTable}
	switch t := s.db.Statement.Clauses["UPDATE"].Expression.(type) {
	case clause.Update:
		if t.Table.Name != "" && s.op != Create {
			table = t.Table
		}
	}
	if t, ok := s.db.Statement.Clauses["INSERT"].Expression.(clause.Insert); ok && t.Table.Name != "" && s.op == Create {
		table = t.Table
	}
	w.WriteQuoted(table)
}

// all writes the columns of the table that the statement writes to.
func (s *statement) all(w *gorm.Statement) {
	w.WriteQuoted(clause.Table{Name: s.name})
	put(w, ".*")
}

// column writes a column of that table.
func (s *statement) column(w *gorm.Statement, name string) {
	w.WriteQuoted(clause.Column{Table: s.name, Name: name})
}

// primary returns the columns of the primary key.
func (s *statement) primary() []string { return s.db.Statement.Schema.PrimaryFieldDBNames }

// put writes SQL.
func put(w *gorm.Statement, parts ...string) {
	for _, part := range parts {
		_, _ = w.WriteString(part)
	}
}

func (s *statement) tooMany(n int) error {
	return fmt.Errorf("reliable: %s %s: %d rows of one statement, more than %d are not recorded: "+
		"split the statement, raise Config.MaxRows, or opt out with reliable.Skip", s.op, model(s.db), n, s.maxRows)
}

// refuse returns an error that names the statement.
func (s *statement) refuse(why string) error {
	return fmt.Errorf("reliable: %s %s: %s, or opt out with reliable.Skip", s.op, model(s.db), why)
}
