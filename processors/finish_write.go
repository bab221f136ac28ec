package processors

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"

	"github.com/gorm-aftercommit/aftercommit/internal/failpoint"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// completion is the statement for what is done.
func (p *NonOrdered) completion() string {
	switch p.Completion {
	case Delete:
		return p.q.drop
	case Keep:
		return p.q.keep
	default:
		return p.q.archive
	}
}

// writeOne makes a group durable on PostgreSQL: all in one statement, behind
// the fence. Nothing happens unless the claim's row is still there, and only to
// ids that still stand in it.
func (p *NonOrdered) writeOne(ctx context.Context, token int64, done []int64, failures []failure, rest []int64) error {
	text, args := p.q.finish+p.completion(), []any{token, idList(p.dialect, done), idList(p.dialect, rest)}
	if len(failures) > 0 {
		encoded, err := json.Marshal(failures)
		if err != nil {
			return err
		}
		text, args = p.q.finish+p.q.fail+p.completion(), append(args, string(encoded))
	}
	return p.finisher.one(ctx, func(ctx context.Context, conn *sql.Conn) error {
		var held int
		if err := conn.QueryRowContext(ctx, text, args...).Scan(&held); err != nil {
			return err
		}
		if held == 0 {
			return reliable.ErrLeaseLost
		}
		return nil
	})
}

// writeTx is writeOne where it takes several statements.
func (p *NonOrdered) writeTx(ctx context.Context, token int64, done []int64, failures []failure, rest []int64) error {
	return p.finisher.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := p.write(ctx, tx, token, done, failures, rest); err != nil {
			return err
		}
		failpoint.Hit("finish.written")
		return nil
	})
}

func (p *NonOrdered) write(ctx context.Context, tx *sql.Tx, token int64, done []int64, failures []failure, rest []int64) error {
	held, err := p.lock(ctx, tx, token)
	if err != nil {
		return err
	}
	failpoint.Hit("finish.fenced")
	slices.Sort(held)
	mine := func(id int64) bool { _, ok := slices.BinarySearch(held, id); return ok }
	done = slices.DeleteFunc(slices.Clone(done), func(id int64) bool { return !mine(id) })
	failures = slices.DeleteFunc(slices.Clone(failures), func(f failure) bool { return !mine(f.ID) })
	if len(done) > 0 {
		ids := idList(p.dialect, done)
		args := []any{ids}
		if p.Completion == Archive {
			args = []any{token, ids}
		}
		if _, err := tx.ExecContext(ctx, p.completion(), args...); err != nil {
			return err
		}
		if p.Completion == Archive {
			if _, err := tx.ExecContext(ctx, p.q.drop, ids); err != nil {
				return err
			}
		}
	}
	if len(failures) > 0 {
		encoded, err := json.Marshal(failures)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, p.q.fail, string(encoded)); err != nil {
			return err
		}
		for _, f := range failures {
			if !f.Parked {
				continue
			}
			if _, err := tx.ExecContext(ctx, p.q.park, f.ID); err != nil {
				return err
			}
		}
		failpoint.Hit("finish.failed")
	}
	_, err = tx.ExecContext(ctx, p.q.setClaim, idList(p.dialect, rest), token)
	return err
}

// lock locks a claim's row and returns its ids. Without the row, the lease is
// lost.
func (p *NonOrdered) lock(ctx context.Context, tx *sql.Tx, token int64) ([]int64, error) {
	if err := p.becomeWriter(ctx, tx); err != nil {
		return nil, err
	}
	var text string
	err := tx.QueryRowContext(ctx, p.q.lockClaim, token).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, reliable.ErrLeaseLost
	}
	if err != nil {
		return nil, err
	}
	return parseIDs(text)
}
