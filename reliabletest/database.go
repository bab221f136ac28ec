package reliabletest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"

	"gorm.io/gorm"
)

// database is a transaction as a database of its own: its transactions are
// savepoints, and a statement outside of one that fails has no effect on what
// follows, as if each were committed at once.
type database struct {
	raw     gorm.ConnPool // past the statement cache
	pool    *sql.DB
	careful bool // an error spoils the transaction: PostgreSQL

	mu   sync.Mutex
	open bool // statementSavepoint is set around a query whose rows may still be read
	last int  // transaction
}

var (
	_ gorm.ConnPool         = (*database)(nil)
	_ gorm.ConnPoolBeginner = (*database)(nil)
	_ gorm.GetDBConnector   = (*database)(nil)
)

// statementSavepoint is set around each statement outside of a transaction.
const statementSavepoint = "reliabletest_statement"

func newDatabase(tx *gorm.DB, pool *sql.DB) *database {
	raw := tx.Statement.ConnPool
	if cached, ok := raw.(*gorm.PreparedStmtTX); ok {
		raw = cached.Tx
	}
	return &database{raw: raw, pool: pool, careful: tx.Name() == "postgres"}
}

// exec runs one statement, also after the end of ctx.
func (d *database) exec(ctx context.Context, query string) error {
	_, err := d.raw.ExecContext(context.WithoutCancel(ctx), query)
	return err
}

// before sets a savepoint for a statement.
func (d *database) before(ctx context.Context) error {
	if err := d.settle(ctx); err != nil || !d.careful {
		return err
	}
	if err := d.exec(ctx, "SAVEPOINT "+statementSavepoint); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open = true
	return nil
}

// settle ends the savepoint of the last statement, rolled back if that failed.
func (d *database) settle(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.open {
		return nil
	}
	d.open = false
	return d.end(ctx, statementSavepoint)
}

// end releases a savepoint, rolled back if it can't be released otherwise.
func (d *database) end(ctx context.Context, name string) error {
	err := d.exec(ctx, "RELEASE SAVEPOINT "+name)
	if err == nil {
		return nil
	}
	if undo := d.undo(ctx, name); undo != nil {
		return errors.Join(err, undo)
	}
	return nil
}

// undo rolls back to a savepoint, and releases it.
func (d *database) undo(ctx context.Context, name string) error {
	if err := d.exec(ctx, "ROLLBACK TO SAVEPOINT "+name); err != nil {
		return err
	}
	return d.exec(ctx, "RELEASE SAVEPOINT "+name)
}

// PrepareContext implements [gorm.ConnPool].
func (d *database) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	if err := d.before(ctx); err != nil {
		return nil, err
	}
	return d.raw.PrepareContext(ctx, query)
}

// ExecContext implements [gorm.ConnPool].
func (d *database) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := d.before(ctx); err != nil {
		return nil, err
	}
	result, err := d.raw.ExecContext(ctx, query, args...)
	return result, errors.Join(err, d.settle(ctx))
}

// QueryContext implements [gorm.ConnPool]. The rows are to be closed before the
// next statement.
func (d *database) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := d.before(ctx); err != nil {
		return nil, err
	}
	return d.raw.QueryContext(ctx, query, args...)
}

// QueryRowContext implements [gorm.ConnPool].
func (d *database) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return d.row(ctx, d.before(ctx), query, args...)
}

// row queries a row, unless there was an error before: then the row has one.
func (d *database) row(ctx context.Context, err error, query string, args ...any) *sql.Row {
	if err != nil {
		ended, cancel := context.WithCancelCause(ctx)
		cancel(err)
		ctx = ended
	}
	return d.raw.QueryRowContext(ctx, query, args...)
}

// GetDBConn implements [gorm.GetDBConnector].
func (d *database) GetDBConn() (*sql.DB, error) { return d.pool, nil }

// BeginTx implements [gorm.ConnPoolBeginner]. Options have no effect: they are
// those of the test's transaction.
func (d *database) BeginTx(ctx context.Context, _ *sql.TxOptions) (gorm.ConnPool, error) {
	if err := errors.Join(context.Cause(ctx), d.settle(ctx)); err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.last++
	tx := &transaction{of: d, name: fmt.Sprintf("reliabletest_%d", d.last), ended: func() error { return context.Cause(ctx) }}
	d.mu.Unlock()
	if err := d.exec(ctx, "SAVEPOINT "+tx.name); err != nil {
		return nil, err
	}
	return tx, nil
}
