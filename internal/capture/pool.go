package capture

import (
	"context"
	"database/sql"
	"fmt"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/failpoint"
)

// pool stands in for a statement's ConnPool while GORM's own callback runs. It
// intercepts the statement's one call; other queries (a GormValue may send
// some while the SQL is built) go through.
type pool struct {
	gorm.ConnPool // the statement's own
	*capture
	db *gorm.DB
	op Operation

	sent      bool // the statement's call was intercepted
	committed bool // in a transaction of the pool's own, with records to tell of
}

// transaction is where an intercepted statement runs.
type transaction struct {
	gorm.TxCommitter
	conn gorm.ConnPool // through the user's statement cache
	raw  gorm.ConnPool // past it
	own  bool          // begun by the pool
}

// ExecContext implements [gorm.ConnPool].
func (p *pool) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if !p.intercepts(query) {
		return p.ConnPool.ExecContext(ctx, query, args...)
	}
	out, err := p.write(ctx, call{query: query, args: args})
	if err != nil {
		return nil, err
	}
	return out.result, nil
}

// QueryContext implements [gorm.ConnPool].
func (p *pool) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if !p.intercepts(query) {
		return p.ConnPool.QueryContext(ctx, query, args...)
	}
	out, err := p.write(ctx, call{query: query, args: args, rows: true})
	if err != nil {
		return nil, err
	}
	return p.replayer.replay(out.reply) //nolint:contextcheck // it is in memory
}

func (p *pool) intercepts(query string) bool {
	return !p.sent && p.db.Statement.SQL.String() == query
}

// write runs the statement, records its rows, and commits if the transaction
// is the pool's own. After an error the statement has no effect: either it had
// none, or its transaction is rolled back.
func (p *pool) write(ctx context.Context, c call) (*outcome, error) {
	p.sent = true
	p.db.Statement.ConnPool = p.ConnPool
	tx, err := p.transaction()
	if err != nil {
		return nil, err
	}
	settled := false
	defer func() {
		if !settled { // a panic or runtime.Goexit: GORM does not roll back
			_ = tx.Rollback()
		}
	}()
	failpoint.Hit("capture.begun")
	s := &statement{call: c, tx: tx, db: p.db, op: p.op, maxRows: p.options.MaxRows}
	out, err := s.run(ctx, p.dialect)
	failpoint.Hit("capture.written")
	tell := false
	if err == nil && len(out.rows) > 0 {
		tell, err = p.record(tx, out)
	}
	settled = true
	failpoint.Hit("capture.recorded")
	switch {
	case tx.own && (err != nil || out.reply.failed()):
		_ = tx.Rollback()
	case tx.own:
		err = tx.Commit()
		p.committed = tell && err == nil
		failpoint.Hit("capture.committed")
	case err != nil && s.written:
		p.undo(p.db, tx, tx.raw, err) // what is not recorded must not be committed, even if the error is ignored
	case err == nil && tell:
		if u := p.unit(p.db, tx.raw); u != nil {
			u.recorded = true
		} else {
			p.hook.Recorded(false)
		}
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// transaction returns the transaction of the statement, or begins one.
func (p *pool) transaction() (*transaction, error) {
	if tx, ok := p.ConnPool.(gorm.TxCommitter); ok && tx != nil {
		return &transaction{TxCommitter: tx, conn: p.ConnPool, raw: Uncached(p.ConnPool)}, nil
	}
	if p.options.RequireTransaction {
		return nil, fmt.Errorf("reliable: %s %s: not in a transaction: wrap it in db.Transaction, or drop Config.RequireTransaction", p.op, model(p.db))
	}
	begun := p.db.Begin()
	if begun.Error != nil {
		return nil, begun.Error
	}
	conn := begun.Statement.ConnPool
	tx, ok := conn.(gorm.TxCommitter)
	if !ok {
		return nil, fmt.Errorf("reliable: %s %s: %w", p.op, model(p.db), gorm.ErrInvalidTransaction)
	}
	return &transaction{TxCommitter: tx, conn: conn, raw: Uncached(conn), own: true}, nil
}

// record hands the rows to the hook, in the statement's transaction.
func (p *pool) record(tx *transaction, out *outcome) (tell bool, err error) {
	p.db.Statement.ConnPool = tx.raw
	defer func() { p.db.Statement.ConnPool = p.ConnPool }()
	return p.hook.Record(p.db, &Set{Operation: p.op, Columns: out.columns, Rows: out.rows})
}
