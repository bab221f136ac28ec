package reliable

import (
	"errors"
	"fmt"
	"strings"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/capture"
	"github.com/gorm-aftercommit/aftercommit/internal/sqltext"
)

// Watches implements [capture.Hook]. What could be captured only in part or not
// at all is refused: a write without a model, or of another struct, to the
// table of a registered model, and a write of the model to another table.
func (r recorder) Watches(db *gorm.DB, op capture.Operation) (bool, error) {
	stmt := db.Statement
	if skipped(stmt.Context) {
		return false, nil
	}
	w := r.plugin.watch(stmt)
	err := r.plugin.refuse(stmt, w, op)
	switch {
	case err == nil:
		return w != nil && w.wants(op), nil
	case r.plugin.cfg.AllowUncaptured:
		return false, nil
	default:
		return false, err
	}
}

// wants reports whether a kind of statement may change what is captured.
func (w *watch) wants(op capture.Operation) bool {
	wanted := w.captured()
	switch op {
	case capture.Create: // an upsert updates
		return wanted.Has(OpSave)
	case capture.Update:
		return wanted.Has(OpUpdate)
	default:
		return wanted.Has(OpDestroy)
	}
}

// refuse returns an error if a write can't be recorded and should be: one of w,
// or one that names no model that is recorded (w is nil).
func (p *Plugin) refuse(stmt *gorm.Statement, w *watch, op capture.Operation) error {
	if w == nil || p.watches[w.typ] != w {
		if owner := p.owner(stmt, op); owner != nil {
			what := "without a model"
			if stmt.Schema != nil {
				what = "as " + stmt.Schema.Name
			}
			return fmt.Errorf("reliable: %s %s: a write %s to its table %s can't be recorded: use Model(&%s{}), or record it with reliable.Record and opt out with reliable.Skip",
				op, owner.class(), what, owner.schema.Table, owner.schema.Name)
		}
	}
	switch {
	case w == nil && stmt.Schema == nil && p.cfg.AllModels && !p.owns(stmt.Table):
		return fmt.Errorf("reliable: %s: a write without a model to the table %s can't be recorded: use Model, or record it with reliable.Record and opt out with reliable.Skip",
			op, stmt.Table)
	case w == nil:
		return nil
	case len(w.schema.PrimaryFields) == 0:
		return fmt.Errorf("reliable: %s %s: a model without a primary key can't be recorded: tag a field with gorm:\"primaryKey\", or opt out with reliable.Ignore or reliable.Skip",
			op, w.class())
	case w.mistakes != nil:
		return fmt.Errorf("reliable: %s %s: %w", op, w.class(), w.mistakes)
	case tableOf(stmt) != w.schema.Table:
		return fmt.Errorf("reliable: %s %s: a write to the table %s can't be recorded, since its rows are not those of %s: "+
			"record it with reliable.Record and opt out with reliable.Skip", op, w.class(), tableOf(stmt), w.schema.Table)
	default:
		return nil
	}
}

// owner returns the registered model whose table a statement writes to, if such
// a write is recorded.
func (p *Plugin) owner(stmt *gorm.Statement, op capture.Operation) *watch {
	for _, w := range p.watches {
		if w.wants(op) && writesTo(stmt, w.schema.Table) {
			return w
		}
	}
	return nil
}

// writesTo reports whether a statement may write to a table: also if it names
// the schema and the model does not.
func writesTo(stmt *gorm.Statement, table string) bool {
	return stmt.Table == table || tableOf(stmt) == table
}

// tableOf returns the table that a statement writes to, with its schema if the
// statement names it.
func tableOf(stmt *gorm.Statement) string {
	if stmt.TableExpr == nil {
		return stmt.Table
	}
	words := strings.Fields(strings.NewReplacer(`"`, "", "`", "").Replace(stmt.TableExpr.SQL)) // orders AS o
	if len(words) == 0 {
		return stmt.Table
	}
	return words[0]
}

// raw is called before SQL is sent that GORM did not build, or before a query.
func (p *Plugin) raw(db *gorm.DB) {
	stmt := db.Statement
	if db.Error != nil || db.DryRun || stmt.SQL.Len() == 0 {
		return
	}
	err := p.refuseRaw(stmt)
	if b := p.buffers.of(stmt.ConnPool); b != nil && err == nil {
		err = b.before(stmt.Context, stmt.SQL.String())
	}
	_ = db.AddError(err)
}

// rawSent is called after raw SQL was sent.
func (p *Plugin) rawSent(db *gorm.DB) {
	if b := p.buffers.of(db.Statement.ConnPool); b != nil && !db.DryRun {
		b.after(db.Statement.SQL.String(), db.Error)
	}
}

// refuseRaw returns an error if raw SQL writes to the table of a recorded
// model, as far as its text tells.
func (p *Plugin) refuseRaw(stmt *gorm.Statement) error {
	if p.cfg.AllowUncaptured || skipped(stmt.Context) {
		return nil
	}
	var errs []error
	for _, write := range sqltext.Writes(stmt.SQL.String()) {
		table, of := "", ""
		for _, w := range p.watches {
			if strings.EqualFold(base(w.schema.Table), write.Table) {
				table, of = w.schema.Table, " of "+w.class()
			}
		}
		if table == "" && p.cfg.AllModels && !p.exempt(write.Table) {
			table = write.Table
		}
		if table != "" {
			errs = append(errs, fmt.Errorf("reliable: raw %s of the table %s%s can't be recorded: use Model, or record it with reliable.Record and opt out with reliable.Skip",
				write.Verb, table, of))
		}
	}
	return errors.Join(errs...)
}

// exempt reports whether raw SQL may write to a table though all models are
// recorded: the outbox's own, and what GORM's SQLite migrator copies rows to.
func (p *Plugin) exempt(table string) bool {
	return p.owns(p.cfg.Tables.qualified(table)) || strings.HasSuffix(table, "__temp")
}

// base returns a table's name without its schema.
func base(table string) string { return table[strings.LastIndexByte(table, '.')+1:] }
