package capture

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// pool stands in for the connection pool while GORM's own callback runs. It
// takes the one statement that GORM sends, sends its own instead, and answers
// what GORM asked.
type pool struct {
	gorm.ConnPool               // the transaction
	aux           gorm.ConnPool // the same, below the user's statement cache
	db            *gorm.DB
	op            Operation
	options       Options
	set           *Set
	doomed        bool // the write may have happened, but can't be recorded
	replays       []*sql.DB
}

// ExecContext captures the statement and returns its result.
func (p *pool) ExecContext(ctx context.Context, _ string, _ ...any) (sql.Result, error) {
	w, err := p.capture(ctx)
	if err != nil {
		return nil, err
	}
	return result{lastInsertID: w.lastInsertID, rowsAffected: w.rowsAffected}, nil
}

// QueryContext captures the statement and returns the columns that GORM or the
// user asked for.
func (p *pool) QueryContext(ctx context.Context, _ string, _ ...any) (*sql.Rows, error) {
	w, err := p.capture(ctx)
	if err != nil {
		return nil, err
	}
	db, rows, err := replay(ctx, w.asked)
	if err != nil {
		return nil, err
	}
	p.replays = append(p.replays, db)
	return rows, nil
}

func (p *pool) close() {
	for _, db := range p.replays {
		_ = db.Close()
	}
}

// written is what became of the statement.
type written struct {
	columns      []string
	rows         []Row
	asked        table // for GORM
	lastInsertID int64
	rowsAffected int64
}

func (p *pool) capture(ctx context.Context) (*written, error) {
	stmt := p.db.Statement
	var w *written
	var err error
	switch _, sets := stmt.Clauses["SET"]; {
	case p.op == Create:
		w, err = p.insert(ctx)
	case p.op == Update || sets: // a soft delete is an UPDATE
		w, err = p.update(ctx)
	default:
		w, err = p.delete(ctx)
	}
	if err != nil {
		return nil, err
	}
	if limit := p.options.MaxRows; len(w.rows) > limit {
		p.doomed = true
		return nil, fmt.Errorf("reliable: %s of %s changed %d rows, more than %d are not recorded: split the statement, raise Config.MaxRows, or opt out with reliable.Skip",
			p.op, stmt.Schema.Name, len(w.rows), limit)
	}
	p.set = &Set{Operation: p.op, Columns: w.columns, Rows: w.rows}
	return w, nil
}

// fail marks the write as done but not captured.
func (p *pool) fail(err error) error {
	p.doomed = true
	return err
}

// query sends the builder's statement and reads all rows.
func (p *pool) query(ctx context.Context, on gorm.ConnPool, b *gorm.Statement) (table, error) {
	if b.Error != nil {
		return table{}, b.Error
	}
	rows, err := on.QueryContext(ctx, b.SQL.String(), b.Vars...)
	if err != nil {
		return table{}, err
	}
	return readAll(rows)
}

// builder returns an empty statement with the clauses of GORM's.
func (p *pool) builder() *gorm.Statement {
	stmt := p.db.Statement
	clauses := make(map[string]clause.Clause, len(stmt.Clauses))
	for name, c := range stmt.Clauses {
		clauses[name] = c
	}
	return &gorm.Statement{
		DB: p.db.Session(&gorm.Session{Context: stmt.Context}), Table: stmt.Table, TableExpr: stmt.TableExpr, Model: stmt.Model, Dest: stmt.Dest,
		ReflectValue: stmt.ReflectValue, Schema: stmt.Schema, Context: stmt.Context, Unscoped: stmt.Unscoped,
		Clauses: clauses, Selects: stmt.Selects, Omits: stmt.Omits, ColumnMapping: stmt.ColumnMapping,
	}
}

// asked returns the columns of the RETURNING clause that GORM or the user
// added. all means every column; ok is false without a clause.
func (p *pool) asked() (columns []clause.Column, all, ok bool) {
	c, ok := p.db.Statement.Clauses["RETURNING"]
	if !ok {
		return nil, false, false
	}
	returning, _ := c.Expression.(clause.Returning)
	star := len(returning.Columns) == 0 || slices.ContainsFunc(returning.Columns, func(c clause.Column) bool { return c.Name == "*" })
	return returning.Columns, star, true
}

// returning appends RETURNING with all columns, extra expressions, and then
// what was asked for. It returns how many columns stand at the end for that,
// -1 for all.
func (p *pool) returning(b *gorm.Statement, extra ...string) (asked int) {
	star := "*"
	if p.dialect() == "postgres" {
		star = p.target(b) + ".*"
	}
	b.WriteString(" RETURNING " + star)
	for _, e := range extra {
		b.WriteString(", " + e)
	}
	columns, all, ok := p.asked()
	if !ok || all {
		return -1
	}
	for _, column := range columns {
		b.WriteString(", ")
		b.WriteQuoted(column)
	}
	return len(columns)
}

// target names the written table, or its alias, quoted.
func (p *pool) target(b *gorm.Statement) string { return b.Quote(p.db.Statement.Table) }

func (p *pool) dialect() string { return p.db.Name() }

func containsFold(s, part string) bool {
	return strings.Contains(strings.ToLower(s), part)
}
