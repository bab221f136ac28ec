package reliabletest

import (
	"context"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// finisher completes the entry of a RunTx in its transaction.
type finisher struct{ q queries }

var _ reliable.TxFinisher = finisher{}

// FinishIn implements [reliable.TxFinisher]. Of an outcome that is not done it
// writes the callbacks alone: what waits for a time is not due before the whole
// run is over.
func (f finisher) FinishIn(ctx context.Context, tx gorm.ConnPool, o reliable.Outcome) error {
	if o.State == reliable.StateDone {
		return f.q.finish(ctx, tx, o)
	}
	return f.q.write(ctx, tx, o, nil, nil, nil)
}

// FinishedIn implements [reliable.TxFinisher]. A savepoint that can't be released
// is rolled back; so is taken a COMMIT that failed, in a test.
func (f finisher) FinishedIn(context.Context, reliable.Outcome) (bool, error) { return false, nil }
