package capture

import (
	"context"
	"slices"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/schema"
)

// insert sends GORM's INSERT and has every inserted or updated row returned.
func (p *pool) insert(ctx context.Context) (*written, error) {
	stmt := p.db.Statement
	conflict, upserts := stmt.Clauses["ON CONFLICT"].Expression.(clause.OnConflict)
	var before table
	if upserts && (!conflict.DoNothing || p.dialect() == "mysql") {
		var err error
		if before, err = p.conflicting(ctx, conflict); err != nil {
			return nil, err
		}
	}
	b := p.builder()
	b.Build("INSERT", "VALUES", "ON CONFLICT")
	var extra []string
	if p.dialect() == "postgres" && upserts {
		extra = append(extra, "("+p.target(b)+".xmax = 0)")
	}
	asked := p.returning(b, extra...)
	t, err := p.query(ctx, p.ConnPool, b)
	if err != nil {
		return nil, err
	}
	all := len(t.columns) - len(extra) - max(asked, 0)
	images := t.slice(0, all)
	w := &written{columns: images.columns, rowsAffected: int64(len(t.rows)), asked: images}
	if asked >= 0 {
		w.asked = t.slice(all+len(extra), len(t.columns))
	}
	w.lastInsertID = lastInsertID(stmt.Schema, images, p.dialect())
	old := index(stmt.Schema, before)
	key := keyColumns(stmt.Schema, images)
	for i, row := range images.rows {
		was, stood := old[images.identity(row, key)]
		switch {
		case stood:
			w.rows = append(w.rows, Row{Old: reorder(before.columns, was, images.columns), New: row})
		case len(extra) > 0 && t.rows[i][all] != true:
			w.rows = append(w.rows, Row{New: row, OldUnknown: true})
		default:
			w.rows = append(w.rows, Row{New: row})
		}
	}
	return w, nil
}

// conflicting reads and locks the rows that the INSERT may run into.
func (p *pool) conflicting(ctx context.Context, conflict clause.OnConflict) (table, error) {
	values, _ := p.db.Statement.Clauses["VALUES"].Expression.(clause.Values)
	var any []clause.Expression
	for _, target := range p.conflictKeys(conflict) {
		positions := make([]int, len(target))
		for i, column := range target {
			positions[i] = slices.IndexFunc(values.Columns, func(c clause.Column) bool { return c.Name == column })
		}
		if slices.Contains(positions, -1) {
			continue // given by the database: can't conflict
		}
		for _, row := range values.Values {
			var all []clause.Expression
			for i, column := range target {
				all = append(all, clause.Eq{Column: clause.Column{Table: clause.CurrentTable, Name: column}, Value: row[positions[i]]})
			}
			any = append(any, clause.And(all...))
		}
	}
	if len(any) == 0 {
		return table{}, nil
	}
	if err := p.takeWriteLock(ctx); err != nil {
		return table{}, err
	}
	b := p.builder()
	b.Clauses["WHERE"] = clause.Clause{Name: "WHERE", Expression: clause.Where{Exprs: []clause.Expression{clause.Or(any...)}}}
	p.selectLocked(b)
	return p.query(ctx, p.aux, b)
}

// conflictKeys returns the columns of each key that may conflict.
func (p *pool) conflictKeys(conflict clause.OnConflict) [][]string {
	s := p.db.Statement.Schema
	primary := make([]string, len(s.PrimaryFields))
	for i, field := range s.PrimaryFields {
		primary[i] = field.DBName
	}
	if p.dialect() != "mysql" {
		if len(conflict.Columns) == 0 {
			return [][]string{primary}
		}
		var named []string
		for _, column := range conflict.Columns {
			named = append(named, column.Name)
		}
		return [][]string{named}
	}
	keys := [][]string{primary} // ON DUPLICATE KEY takes any key
	for _, idx := range s.ParseIndexes() {
		if idx.Class != "UNIQUE" {
			continue
		}
		var columns []string
		for _, option := range idx.Fields {
			columns = append(columns, option.DBName)
		}
		keys = append(keys, columns)
	}
	for _, field := range s.Fields {
		if field.Unique {
			keys = append(keys, []string{field.DBName})
		}
	}
	return keys
}

// lastInsertID is what the driver would have said: the generated key of the
// first row (MariaDB) or the last (SQLite).
func lastInsertID(s *schema.Schema, t table, dialect string) int64 {
	field := s.PrioritizedPrimaryField
	if field == nil || len(t.rows) == 0 || t.index(field.DBName) < 0 {
		return 0
	}
	row := t.rows[len(t.rows)-1]
	if dialect == "mysql" {
		row = t.rows[0]
	}
	id, _ := row[t.index(field.DBName)].(int64)
	return id
}

// keyColumns returns the positions of the primary key.
func keyColumns(s *schema.Schema, t table) []int {
	key := make([]int, 0, len(s.PrimaryFields))
	for _, field := range s.PrimaryFields {
		if i := t.index(field.DBName); i >= 0 {
			key = append(key, i)
		}
	}
	return key
}

// index returns the rows by primary key.
func index(s *schema.Schema, t table) map[string][]any {
	rows := make(map[string][]any, len(t.rows))
	key := keyColumns(s, t)
	for _, row := range t.rows {
		rows[t.identity(row, key)] = row
	}
	return rows
}

// reorder returns the values of a row in the order of other columns.
func reorder(from []string, row []any, to []string) []any {
	if slices.Equal(from, to) {
		return row
	}
	values := make([]any, len(to))
	for i, column := range to {
		if j := slices.Index(from, column); j >= 0 {
			values[i] = row[j]
		}
	}
	return values
}

// selectLocked writes a SELECT of all columns of the rows of b's WHERE, locked
// as an UPDATE of them would.
func (p *pool) selectLocked(b *gorm.Statement) {
	b.WriteString("SELECT " + p.target(b) + ".* FROM ")
	p.writeTable(b)
	b.WriteByte(' ')
	b.Build("WHERE")
	switch p.dialect() {
	case "postgres":
		b.WriteString(" FOR NO KEY UPDATE")
	case "mysql":
		if p.op != Create {
			b.WriteByte(' ')
			b.Build("ORDER BY", "LIMIT")
		}
		b.WriteString(" FOR UPDATE")
	}
}

// writeTable writes the table as GORM named it, with its alias.
func (p *pool) writeTable(b *gorm.Statement) {
	if p.db.Statement.TableExpr != nil {
		p.db.Statement.TableExpr.Build(b)
		return
	}
	b.WriteQuoted(clause.Table{Name: clause.CurrentTable})
}

// takeWriteLock makes SQLite's transaction a writing one before it reads: a
// reading one that another writer overtook could not write any more.
func (p *pool) takeWriteLock(ctx context.Context) error {
	if p.dialect() != "sqlite" {
		return nil
	}
	b := p.builder()
	column := b.Quote(p.db.Statement.Schema.PrimaryFields[0].DBName)
	b.WriteString("UPDATE " + b.Quote(p.db.Statement.Schema.Table) + " SET " + column + " = " + column + " WHERE 0")
	_, err := p.aux.ExecContext(ctx, b.SQL.String())
	return err
}
