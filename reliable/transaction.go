package reliable

import (
	"database/sql"
	"errors"
	"fmt"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/failpoint"
)

// Transaction is db.Transaction for transactions with many captured writes: fn
// runs in a transaction that is committed if fn returns nil, and rolled back if
// it returns an error or panics. The entries of captured writes wait in memory
// and are written in one statement before the COMMIT, or earlier, before
// anything that must find them written: raw SQL through GORM, [Record], a
// savepoint. The worker wakes exactly at the commit.
//
// fn must not end the transaction itself: the entries that were waiting are
// lost then, and the error says how many. Nor may it set a savepoint past
// GORM, through ConnPool.(*sql.Tx), and then roll back to it there.
//
// In a transaction already, it is db.Transaction: a savepoint.
func Transaction(db *gorm.DB, fn func(tx *gorm.DB) error, opts ...*sql.TxOptions) (err error) {
	p, err := From(db)
	if err != nil {
		return err
	}
	if committer, ok := db.Statement.ConnPool.(gorm.TxCommitter); ok && committer != nil {
		return db.Transaction(fn, opts...)
	}
	tx := db.Begin(opts...)
	if tx.Error != nil {
		return tx.Error
	}
	b := p.buffers.open(p, tx)
	defer p.buffers.close(b)
	settled := false
	defer func() {
		if !settled { // fn panicked, or ended its goroutine
			_ = tx.Rollback()
		}
	}()
	err = fn(tx)
	settled = true
	if err = b.conclude(tx.Statement.Context, err); err != nil {
		return errors.Join(err, b.lost(tx.Rollback().Error))
	}
	failpoint.Hit("transaction.committing")
	if err = tx.Commit().Error; err != nil {
		return err
	}
	failpoint.Hit("transaction.committed")
	b.committed()
	return nil
}

// lost returns an error if entries were waiting though their transaction had
// ended before: its function committed it, perhaps.
func (b *buffer) lost(rollback error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !errors.Is(rollback, sql.ErrTxDone) || len(b.rows) == 0 {
		return nil
	}
	return fmt.Errorf("reliable: Transaction: it had ended before its function returned, by Commit, Rollback or a timeout: "+
		"if it was committed, %d changes are not recorded: return nil or an error instead of ending it", len(b.rows))
}
