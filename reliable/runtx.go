package reliable

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/capture"
	"github.com/gorm-aftercommit/aftercommit/internal/failpoint"
)

// MaxTxTimeout is the most that a RunTx may take, and its usual Timeout: its
// transaction holds locks and a connection all the while.
const MaxTxTimeout = time.Second

// completeTimeout bounds what follows a RunTx in its transaction: the entry's
// completion and the COMMIT.
const completeTimeout = 10 * time.Second

// TxFinisher is what a [Batch] needs of the claim that it works on to run
// RunTx: the claims of package processors are one.
type TxFinisher interface {
	// FinishIn writes what one entry came to so far in tx, a transaction of
	// the application's, after locking the claim's row. Of an outcome that is
	// done, that is the completion; of another, its Callbacks alone. The
	// caller commits next, or rolls back. [ErrLeaseLost] means that the entry
	// is no longer this worker's.
	FinishIn(ctx context.Context, tx gorm.ConnPool, o Outcome) error

	// FinishedIn reports whether a transaction is committed whose last call
	// was FinishIn, and whose COMMIT had no clear answer. It waits for the end
	// of that transaction. [ErrLeaseLost] means that the entry is no longer
	// this worker's: who holds it next finds what is true.
	FinishedIn(ctx context.Context, o Outcome) (bool, error)
}

// transact runs fn in a transaction that commits together with the entry's
// new state: that the unit is done. The transaction ends with ctx while fn
// runs; from then on it has a time of its own.
func (r *run) transact(ctx context.Context, u *unit, fn func(tx *gorm.DB) error) error {
	if r.batch.Finisher == nil {
		return Permanent(fmt.Errorf("callback %s: RunTx needs Batch.Finisher", u.name))
	}
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	detach := context.AfterFunc(ctx, cancel)
	defer detach()
	tx := r.batch.db.Session(&gorm.Session{NewDB: true, Context: own}).Begin(isolation(r.batch.db))
	if tx.Error != nil {
		return r.putOff(ctx, "begin", tx.Error)
	}
	plugin := r.batch.plugin
	b := plugin.buffers.open(plugin, tx)
	defer plugin.buffers.close(b)
	ended := false
	defer func() {
		if !ended { // an error, a panic, runtime.Goexit
			_ = tx.Rollback()
		}
	}()
	if err := r.becomeWriter(own, tx); err != nil {
		return r.putOff(ctx, "begin", err)
	}
	if err := fn(tx.WithContext(ctx)); err != nil {
		return err
	}
	if !detach() {
		return context.Cause(ctx)
	}
	r.tell(u, completeTimeout)
	deadline := time.AfterFunc(completeTimeout, cancel)
	defer deadline.Stop()
	outcome := r.outcomeWith(u)
	err := b.conclude(own, nil)
	if err == nil {
		err = r.batch.Finisher.FinishIn(own, capture.Uncached(tx.Statement.ConnPool), outcome)
	}
	if err != nil {
		return r.incomplete(ctx, b, err)
	}
	failpoint.Hit("runtx.finished")
	ended = true
	if err := tx.Commit().Error; err != nil {
		if err := r.settle(ctx, u, outcome, err); err != nil {
			return err
		}
	}
	failpoint.Hit("runtx.committed")
	r.committed, r.out.Completed = true, outcome.State == StateDone
	b.committed()
	return nil
}

// isolation returns how a RunTx's transaction is begun: READ COMMITTED, where
// the claim's row can be locked though others have changed it since the
// transaction began.
func isolation(db *gorm.DB) *sql.TxOptions {
	if db.Name() == "sqlite" {
		return new(sql.TxOptions)
	}
	return &sql.TxOptions{Isolation: sql.LevelReadCommitted}
}

// becomeWriter takes SQLite's one write lock before anything is read: a
// transaction that reads first, and finds at its first write that others have
// written meanwhile, can only fail.
func (r *run) becomeWriter(ctx context.Context, tx *gorm.DB) error {
	if tx.Name() != "sqlite" {
		return nil
	}
	_, err := capture.Uncached(tx.Statement.ConnPool).ExecContext(ctx, "DELETE FROM "+r.batch.plugin.cfg.Tables.Claims()+" WHERE false")
	return err
}

// outcomeWith returns what the entry comes to if u is done now.
func (r *run) outcomeWith(u *unit) Outcome {
	state := &r.states[slices.Index(r.units, u)]
	defer func(before unitState) { *state = before }(*state)
	state.State = unitDone
	r.conclude()
	return r.out
}

// incomplete returns what it means for the attempt that the entry could not be
// completed in the callback's transaction.
func (r *run) incomplete(ctx context.Context, b *buffer, err error) error {
	switch {
	case errors.Is(err, ErrLeaseLost):
		r.lost = true
		return err
	case errors.Is(err, sql.ErrTxDone):
		return Permanent(errors.Join(errors.New("reliable: RunTx ended its transaction itself: return nil to commit it, an error to roll it back"), b.lost(err)))
	case unreachable(err):
		return r.putOff(ctx, "complete", err)
	default:
		return fmt.Errorf("complete the entry in the callback's transaction: %w", err)
	}
}

// settle finds out what became of a COMMIT that failed, however long it takes:
// to run the callback again, or not to, would be wrong half of the time. It
// returns nil if the transaction is committed.
func (r *run) settle(ctx context.Context, u *unit, o Outcome, cause error) error {
	for attempt := 0; ; attempt++ {
		r.tell(u, completeTimeout)
		committed, err := r.finishedIn(ctx, o)
		switch {
		case errors.Is(err, ErrLeaseLost):
			r.lost = true
			return err
		case err != nil:
			r.batch.plugin.cfg.Monitor.Publish(&ErrorOccurred{Step: "settle", Err: err})
			<-time.After(min(10*time.Millisecond<<min(attempt, 8), time.Second))
		case committed:
			return nil
		case unreachable(cause) || errors.Is(cause, context.Canceled):
			return r.putOff(ctx, "commit", cause)
		default:
			return fmt.Errorf("commit: %w", cause)
		}
	}
}

func (r *run) finishedIn(ctx context.Context, o Outcome) (bool, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), completeTimeout)
	defer cancel()
	return r.batch.Finisher.FinishedIn(ctx, o)
}

// putOff makes the unit run again soon: the database's trouble is not the
// callback's, so that no attempt is burnt.
func (r *run) putOff(ctx context.Context, step string, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, ErrShutdown) || errors.Is(cause, ErrLeaseLost) {
		return cause
	}
	r.batch.plugin.cfg.Monitor.Publish(&ErrorOccurred{Step: step, Err: err})
	return Snooze(unreachableFor)
}

// keep returns nil for an attempt whose transaction is committed: it is done,
// whatever middleware came to after that.
func (r *run) keep(err error) error {
	if !r.committed {
		return err
	}
	r.committed = false
	if err != nil {
		r.batch.plugin.cfg.Monitor.Publish(&ErrorOccurred{Step: "middleware", Err: err})
	}
	return nil
}
