package worker

import (
	"context"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// leased is the context of a claim's callbacks. It ends with the lease, even for
// a process that stood still and has not noticed yet: whoever asks for Err, as
// is done before each callback, asks the claim.
type leased struct {
	context.Context //nolint:containedctx // it is one
	batch           *batch
}

// Err implements [context.Context].
func (c leased) Err() error {
	select {
	case <-c.batch.Lost():
		c.batch.cancel(reliable.ErrLeaseLost)
	default:
	}
	return c.Context.Err()
}
