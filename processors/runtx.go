package processors

import (
	"context"
	"database/sql"
	"errors"
	"slices"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// A RunTx's transaction locks its claim's row before it writes to its entry,
// like a finish does: the two wait for each other, and never in a circle. The
// lock is a shared one, so that RunTx of one claim don't. The entry's id stays
// in the row until a finish strikes it: till then it stands for nothing.

// FinishIn implements [reliable.TxFinisher].
func (c *claim) FinishIn(ctx context.Context, tx gorm.ConnPool, o reliable.Outcome) error {
	if c.processor.dialect == "postgres" {
		return c.finishInOne(ctx, tx, o)
	}
	return c.finishIn(ctx, tx, o)
}

// finishInOne is FinishIn on PostgreSQL: one statement.
func (c *claim) finishInOne(ctx context.Context, tx gorm.ConnPool, o reliable.Outcome) error {
	text, args := c.processor.tx.complete, []any{c.token, o.Entry.ID}
	if o.State != reliable.StateDone {
		text, args = c.processor.tx.note, append(args, string(o.Callbacks), o.Attempts)
	}
	var held int
	if err := tx.QueryRowContext(ctx, text, args...).Scan(&held); err != nil {
		return err
	}
	if held == 0 {
		return reliable.ErrLeaseLost
	}
	return nil
}

// finishIn is FinishIn where it takes several statements.
func (c *claim) finishIn(ctx context.Context, tx gorm.ConnPool, o reliable.Outcome) error {
	p := c.processor
	if err := c.write(ctx, tx); err != nil {
		return err
	}
	var text string
	var open bool
	err := tx.QueryRowContext(ctx, p.tx.fence, c.token).Scan(&text, &open)
	if errors.Is(err, sql.ErrNoRows) {
		return reliable.ErrLeaseLost
	}
	if err == nil && !open { // MariaDB ended it, after a deadlock perhaps
		err = errors.New("the database has ended the transaction: RunTx must return the error that told of it")
	}
	if err != nil {
		return err
	}
	ids, err := parseIDs(text)
	if err != nil {
		return err
	}
	if !slices.Contains(ids, o.Entry.ID) {
		return reliable.ErrLeaseLost
	}
	if o.State != reliable.StateDone {
		_, err := tx.ExecContext(ctx, p.tx.note, string(o.Callbacks), o.Attempts, o.Entry.ID)
		return err
	}
	args := []any{o.Entry.ID}
	if p.Completion == Archive {
		args = []any{c.token, o.Entry.ID}
	}
	if _, err := tx.ExecContext(ctx, p.tx.complete, args...); err != nil {
		return err
	}
	if p.tx.drop != "" {
		if _, err := tx.ExecContext(ctx, p.tx.drop, o.Entry.ID); err != nil {
			return err
		}
	}
	return nil
}

// write makes a transaction the writer on SQLite, before it reads.
func (c *claim) write(ctx context.Context, tx gorm.ConnPool) error {
	if c.processor.dialect != "sqlite" {
		return nil
	}
	_, err := tx.ExecContext(ctx, c.processor.q.deleteClaims, "[]")
	return err
}

// FinishedIn implements [reliable.TxFinisher]. The transaction in question
// holds the claim's row for as long as it is open.
func (c *claim) FinishedIn(ctx context.Context, o reliable.Outcome) (committed bool, err error) {
	select {
	case <-c.lost:
		return false, reliable.ErrLeaseLost
	default:
	}
	p := c.processor
	p.finishMu.Lock()
	defer p.finishMu.Unlock()
	err = p.finisher.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := c.write(ctx, tx); err != nil {
			return err
		}
		var row int
		err := tx.QueryRowContext(ctx, p.tx.lock, c.token).Scan(&row)
		if errors.Is(err, sql.ErrNoRows) {
			return reliable.ErrLeaseLost
		}
		if err != nil {
			return err
		}
		var callbacks sql.NullString
		var processed bool
		switch err := tx.QueryRowContext(ctx, p.tx.state, o.Entry.ID).Scan(&callbacks, &processed); {
		case errors.Is(err, sql.ErrNoRows):
			committed = true
			return nil
		case err != nil:
			return err
		}
		if committed = processed; o.State != reliable.StateDone {
			committed = callbacks.String == string(o.Callbacks)
		}
		return nil
	})
	return committed && err == nil, err
}
