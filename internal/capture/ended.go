package capture

import (
	"context"
	"errors"
	"strings"

	"gorm.io/gorm"
)

// abandon rolls the user's transaction back if the database has ended it by
// itself when a statement failed: MariaDB after a deadlock, SQLite after an
// interrupt or a full disk. What the application sends next would otherwise
// commit at once, each statement for itself, while what it sent before is gone.
func (c *capture) abandon(db *gorm.DB) {
	if db.Error == nil || db.DryRun || errors.Is(db.Error, gorm.ErrRecordNotFound) {
		return
	}
	tx, ok := db.Statement.ConnPool.(gorm.TxCommitter)
	if !ok || tx == nil {
		return
	}
	raw := Uncached(db.Statement.ConnPool)
	if c.dialect.ended(context.WithoutCancel(db.Statement.Context), raw, db.Error) {
		c.undo(db, tx, raw, db.Error)
	}
}

// undo rolls the user's transaction back. GORM rolls its own default
// transaction back by itself, if the error is the statement's that began it.
func (c *capture) undo(db *gorm.DB, tx gorm.TxCommitter, raw gorm.ConnPool, err error) {
	u := c.unit(db, raw)
	if u != nil && u.owner == db.Statement {
		return
	}
	_ = tx.Rollback()
	if u != nil {
		u.err = err
	} else {
		c.hook.RolledBack(raw, err)
	}
}

// ended implements [dialect]. A transaction of PostgreSQL's takes nothing more
// after an error.
func (*postgres) ended(context.Context, gorm.ConnPool, error) bool { return false }

// ended implements [dialect]. A deadlock (1213) ends the transaction, a lock
// wait that took too long (1205) only with innodb_rollback_on_timeout.
func (mariadb) ended(ctx context.Context, tx gorm.ConnPool, err error) bool {
	text := err.Error()
	if !strings.Contains(text, "Error 1213") && !strings.Contains(text, "Error 1205") {
		return false
	}
	var open int
	asked := tx.QueryRowContext(ctx, "SELECT @@in_transaction").Scan(&open)
	return asked == nil && open == 0
}

// ended implements [dialect]. SQLite has no other way to ask: BEGIN fails in a
// transaction.
func (sqlite) ended(ctx context.Context, tx gorm.ConnPool, _ error) bool {
	if _, err := tx.ExecContext(ctx, "BEGIN"); err != nil {
		return false
	}
	_, _ = tx.ExecContext(ctx, "ROLLBACK")
	return true
}
