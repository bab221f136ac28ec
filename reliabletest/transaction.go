package reliabletest

import (
	"context"
	"database/sql"
	"errors"

	"gorm.io/gorm"
)

// transaction is a savepoint that looks like a transaction.
type transaction struct {
	of    *database
	name  string
	ended func() error // why the context is over that it was begun with
	done  bool
}

var (
	_ gorm.ConnPool       = (*transaction)(nil)
	_ gorm.TxCommitter    = (*transaction)(nil)
	_ gorm.GetDBConnector = (*transaction)(nil)
)

// PrepareContext implements [gorm.ConnPool].
func (t *transaction) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	if err := t.over(); err != nil {
		return nil, err
	}
	return t.of.raw.PrepareContext(ctx, query)
}

// ExecContext implements [gorm.ConnPool].
func (t *transaction) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := t.over(); err != nil {
		return nil, err
	}
	return t.of.raw.ExecContext(ctx, query, args...)
}

// QueryContext implements [gorm.ConnPool].
func (t *transaction) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := t.over(); err != nil {
		return nil, err
	}
	return t.of.raw.QueryContext(ctx, query, args...)
}

// QueryRowContext implements [gorm.ConnPool].
func (t *transaction) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return t.of.row(ctx, t.over(), query, args...)
}

// GetDBConn implements [gorm.GetDBConnector].
func (t *transaction) GetDBConn() (*sql.DB, error) { return t.of.pool, nil }

// Commit implements [gorm.TxCommitter].
func (t *transaction) Commit() error {
	if t.done {
		return sql.ErrTxDone
	}
	if err := t.ended(); err != nil {
		return errors.Join(err, t.Rollback())
	}
	t.done = true
	ctx := context.Background()
	if err := t.of.exec(ctx, "RELEASE SAVEPOINT "+t.name); err != nil {
		return errors.Join(err, t.of.undo(ctx, t.name))
	}
	return nil
}

// Rollback implements [gorm.TxCommitter].
func (t *transaction) Rollback() error {
	if t.done {
		return sql.ErrTxDone
	}
	t.done = true
	return t.of.undo(context.Background(), t.name)
}

// over returns why no more statements run in the transaction.
func (t *transaction) over() error {
	if t.done {
		return sql.ErrTxDone
	}
	return nil
}
