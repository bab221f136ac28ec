package reliable

import (
	"fmt"
	"strings"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/capture"
)

// Watches implements [capture.Hook]. What could be captured only in part or not
// at all is refused: a write without a model, or of another struct, to the
// table of a registered model, and a write of the model to another table.
func (r recorder) Watches(db *gorm.DB, op capture.Operation) (bool, error) {
	stmt := db.Statement
	if skipped(stmt.Context) {
		return false, nil
	}
	var w *watch
	if stmt.Schema != nil {
		w = r.plugin.watches[stmt.Schema.ModelType]
	}
	var err error
	switch {
	case w == nil:
		err = r.refuse(stmt, op)
	case !writesTo(stmt, w.schema.Table):
		err = fmt.Errorf("reliable: a write of %s to the table %s can't be recorded, since its rows are not those of %s: opt out with reliable.Skip",
			w.class(), stmt.Table, w.schema.Table)
	default:
		return w.wants(op), nil
	}
	if r.plugin.cfg.AllowUncaptured {
		err = nil
	}
	return false, err
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

// refuse returns an error if a write that names no registered model goes to the
// table of one.
func (r recorder) refuse(stmt *gorm.Statement, op capture.Operation) error {
	for _, w := range r.plugin.watches {
		if !w.wants(op) || !writesTo(stmt, w.schema.Table) {
			continue
		}
		what := "without a model"
		if stmt.Schema != nil {
			what = "as " + stmt.Schema.Name
		}
		return fmt.Errorf("reliable: a write %s to the table %s of %s can't be recorded: use Model(&%s{}), or record it with reliable.Record and opt out with reliable.Skip",
			what, w.schema.Table, w.class(), w.schema.Name)
	}
	return nil
}

// writesTo reports whether a statement writes to a table.
func writesTo(stmt *gorm.Statement, table string) bool {
	if stmt.Table == table {
		return true
	}
	if stmt.TableExpr == nil { // not Table("orders AS o")
		return false
	}
	words := strings.FieldsFunc(stmt.TableExpr.SQL, func(c rune) bool { return strings.ContainsRune(" \"`", c) })
	return len(words) > 0 && words[0] == table
}
