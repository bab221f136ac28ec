package processors

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// What a worker's row in outbox_workers says of its processor.
const (
	nonOrderedName = "non_ordered"
	orderedName    = "ordered"
)

// ErrWrongProcessor says that workers of the outbox use another processor than
// this one, or that its table of lanes is not what the keys are hashed for.
var ErrWrongProcessor = errors.New("the outbox is not for this processor")

// Name returns what the worker's row in outbox_workers says, "non_ordered".
func (p *NonOrdered) Name() string {
	if p.lanes != nil {
		return p.lanes.Name()
	}
	return nonOrderedName
}

// admit reports why the worker can't be registered: one with the other
// processor lives, which knows nothing of this one's order, or the lanes are
// not those that are stored with the entries. Registrations come one after the
// other, so that each sees those before it.
func (p *NonOrdered) admit(ctx context.Context, tx *sql.Tx) error {
	t := p.site.Plugin.Tables()
	if _, err := tx.ExecContext(ctx, p.q.registration); err != nil {
		return err
	}
	var other struct {
		id, processor, host string
		pid                 int
		lease               int64
	}
	err := tx.QueryRowContext(ctx, p.q.others, p.Name()).Scan(&other.id, &other.processor, &other.host, &other.pid, &other.lease)
	switch {
	case err == nil:
		return fmt.Errorf("worker %s (%s, process %d) works on %s with the processor %q, this one has %q: stop it, and start again once its lease of %d ms is over: %w",
			other.id, other.host, other.pid, t.Entries(), other.processor, p.Name(), other.lease, ErrWrongProcessor)
	case !errors.Is(err, sql.ErrNoRows):
		return err
	}
	if p.lanes == nil {
		return nil
	}
	var n int
	var low, high sql.NullInt64
	if err := tx.QueryRowContext(ctx, p.q.countLanes).Scan(&n, &low, &high); err != nil {
		return err
	}
	if n != reliable.Lanes || low.Int64 != 0 || high.Int64 != reliable.Lanes-1 {
		return fmt.Errorf("%s has %d lanes, from %d to %d; keys are hashed into %d, from 0 to %d, and that can't be changed: put the rows back as the migration made them: %w",
			t.Lanes(), n, low.Int64, high.Int64, reliable.Lanes, reliable.Lanes-1, ErrWrongProcessor)
	}
	return nil
}
