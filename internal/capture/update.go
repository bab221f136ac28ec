package capture

import (
	"context"
	"fmt"
	"slices"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// update sends GORM's UPDATE and learns each row before and after it.
func (p *pool) update(ctx context.Context) (*written, error) {
	_, from := p.db.Statement.Clauses["FROM"].Expression.(clause.From)
	from = from && p.op == Update
	switch {
	case p.dialect() == "mysql":
		return p.updateThenSelect(ctx)
	case p.dialect() == "postgres" && p.db.Statement.TableExpr == nil && !from:
		return p.updateFrom(ctx)
	default:
		return p.selectThenUpdate(ctx)
	}
}

// updateFrom is PostgreSQL's way: the rows before the update are joined in,
// locked. The user's WHERE stands outside as well, so that the planner can use
// its index there.
func (p *pool) updateFrom(ctx context.Context) (*written, error) {
	b := p.builder()
	t := p.target(b)
	b.Build("UPDATE", "SET")
	b.WriteString(" FROM (SELECT ")
	var joined []clause.Expression
	for i, field := range p.db.Statement.Schema.PrimaryFields {
		column := t + "." + b.Quote(field.DBName)
		b.WriteString(fmt.Sprintf("%s AS __k%d, ", column, i))
		joined = append(joined, clause.Expr{SQL: fmt.Sprintf("%s = __o.__k%d", column, i)})
	}
	b.WriteString("coalesce(" + t + ".*) AS __r FROM ")
	b.WriteQuoted(clause.Table{Name: clause.CurrentTable})
	b.WriteByte(' ')
	b.Build("WHERE")
	b.WriteString(" FOR NO KEY UPDATE) __o ")
	if where, ok := b.Clauses["WHERE"].Expression.(clause.Where); ok && len(where.Exprs) > 0 {
		joined = append(joined, clause.And(slices.Clone(where.Exprs)...))
	}
	b.Clauses["WHERE"] = clause.Clause{Name: "WHERE", Expression: clause.Where{Exprs: joined}}
	b.Build("WHERE")
	asked := p.returning(b, "(__o.__r).*")
	result, err := p.query(ctx, p.ConnPool, b)
	if err != nil {
		return nil, err
	}
	n := (len(result.columns) - max(asked, 0)) / 2
	w := &written{columns: result.columns[:n], rowsAffected: int64(len(result.rows)), asked: result.slice(0, n)}
	if asked >= 0 {
		w.asked = result.slice(2*n, len(result.columns))
	}
	for _, row := range result.rows {
		w.rows = append(w.rows, Row{New: row[:n:n], Old: row[n : 2*n : 2*n]})
	}
	return w, nil
}

// selectThenUpdate locks and reads the rows, then updates them with RETURNING.
func (p *pool) selectThenUpdate(ctx context.Context) (*written, error) {
	before, err := p.before(ctx)
	if err != nil {
		return nil, err
	}
	b := p.builder()
	b.Build("UPDATE", "SET", "FROM", "WHERE")
	asked := p.returning(b)
	t, err := p.query(ctx, p.ConnPool, b)
	if err != nil {
		return nil, err
	}
	all := len(t.columns) - max(asked, 0)
	images := t.slice(0, all)
	w := &written{columns: images.columns, rowsAffected: int64(len(t.rows)), asked: images}
	if asked >= 0 {
		w.asked = t.slice(all, len(t.columns))
	}
	return w, p.pair(w, before, images)
}

// before reads and locks the rows that the UPDATE will change.
func (p *pool) before(ctx context.Context) (table, error) {
	if err := p.takeWriteLock(ctx); err != nil {
		return table{}, err
	}
	b := p.builder()
	p.selectLocked(b)
	return p.query(ctx, p.aux, b)
}

// updateThenSelect is MariaDB's way, which has no UPDATE ... RETURNING.
func (p *pool) updateThenSelect(ctx context.Context) (*written, error) {
	before, err := p.before(ctx)
	if err != nil {
		return nil, err
	}
	stmt := p.db.Statement
	res, err := p.ConnPool.ExecContext(ctx, stmt.SQL.String(), stmt.Vars...)
	if err != nil {
		return nil, err
	}
	affected, err := res.RowsAffected()
	if err != nil {
		return nil, p.fail(err)
	}
	w := &written{columns: before.columns, rowsAffected: affected, asked: table{columns: before.columns}}
	if len(before.rows) == 0 {
		return w, nil
	}
	keys, err := p.keysAfter(before)
	if err != nil {
		return nil, p.fail(err)
	}
	b := p.builder()
	b.WriteString("SELECT " + p.target(b) + ".* FROM ")
	p.writeTable(b)
	b.WriteByte(' ')
	b.Clauses["WHERE"] = clause.Clause{Name: "WHERE", Expression: clause.Where{Exprs: []clause.Expression{keys}}}
	b.Build("WHERE")
	after, err := p.query(ctx, p.aux, b)
	if err != nil {
		return nil, p.fail(err)
	}
	w.columns, w.asked = after.columns, after
	return w, p.pair(w, before, after)
}

// keysAfter returns the condition that finds the rows after the UPDATE: by
// their keys, or by the one new key that it sets.
func (p *pool) keysAfter(before table) (clause.Expression, error) {
	s := p.db.Statement.Schema
	set, _ := p.db.Statement.Clauses["SET"].Expression.(clause.Set)
	var rows []clause.Expression
	for _, row := range before.rows {
		var all []clause.Expression
		for i, position := range keyColumns(s, before) {
			value := row[position]
			for _, assignment := range set {
				if assignment.Column.Name != s.PrimaryFields[i].DBName {
					continue
				}
				if _, expression := assignment.Value.(clause.Expression); expression {
					return nil, fmt.Errorf("reliable: update of %s sets its primary key to an expression, which can't be captured on MariaDB: set a plain value, or opt out with reliable.Skip", s.Name)
				}
				value = assignment.Value
			}
			all = append(all, clause.Eq{Column: clause.Column{Table: clause.CurrentTable, Name: s.PrimaryFields[i].DBName}, Value: value})
		}
		rows = append(rows, clause.And(all...))
	}
	return clause.Or(rows...), nil
}

// pair matches the rows after an update with those before it.
func (p *pool) pair(w *written, before, after table) error {
	s := p.db.Statement.Schema
	if len(before.rows) == 1 && len(after.rows) == 1 { // whatever became of its key
		w.rows = []Row{{Old: reorder(before.columns, before.rows[0], after.columns), New: after.rows[0]}}
		return nil
	}
	set, _ := p.db.Statement.Clauses["SET"].Expression.(clause.Set)
	for _, field := range s.PrimaryFields {
		if slices.ContainsFunc(set, func(a clause.Assignment) bool { return a.Column.Name == field.DBName }) {
			return p.fail(fmt.Errorf("reliable: update of %s changes the primary keys of %d rows at once, which can't be captured here: change one at a time, or opt out with reliable.Skip", s.Name, len(after.rows)))
		}
	}
	old := index(s, before)
	key := keyColumns(s, after)
	for _, row := range after.rows {
		was, ok := old[after.identity(row, key)]
		if !ok {
			w.rows = append(w.rows, Row{New: row, OldUnknown: true})
			continue
		}
		w.rows = append(w.rows, Row{Old: reorder(before.columns, was, after.columns), New: row})
	}
	return nil
}

// delete sends GORM's DELETE and has the deleted rows returned.
func (p *pool) delete(ctx context.Context) (*written, error) {
	b := p.builder()
	b.Build("DELETE", "FROM", "WHERE")
	if p.dialect() == "mysql" {
		b.Build(extraClauses(b)...)
	}
	asked := p.returning(b)
	t, err := p.query(ctx, p.ConnPool, b)
	if err != nil {
		return nil, err
	}
	all := len(t.columns) - max(asked, 0)
	if all < 0 { // MariaDB has no columns to tell of an impossible WHERE
		return &written{}, nil
	}
	images := t.slice(0, all)
	w := &written{columns: images.columns, rowsAffected: int64(len(t.rows)), asked: images}
	if asked >= 0 {
		w.asked = t.slice(all, len(t.columns))
	}
	for _, row := range images.rows {
		w.rows = append(w.rows, Row{Old: row})
	}
	return w, nil
}

// extraClauses are those that MariaDB takes in a DELETE.
func extraClauses(b *gorm.Statement) []string {
	var names []string
	for _, name := range []string{"ORDER BY", "LIMIT"} {
		if _, ok := b.Clauses[name]; ok {
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		b.WriteByte(' ')
	}
	return names
}
