package reliable

import (
	"context"
	"sync"
	"time"
)

// deadline is the context of one run of one callback: parent's, but not beyond
// at. Most callbacks pass it on or never look at it, so that its timer is made
// when somebody first does.
type deadline struct {
	parent context.Context //nolint:containedctx // it is a context itself
	at     time.Time
	cause  timeoutError
	depth  int // see MaxDepth

	mu     sync.Mutex
	real   context.Context //nolint:containedctx // nil until somebody looks
	cancel context.CancelFunc
	over   bool // the callback has returned
}

// Deadline implements [context.Context].
func (d *deadline) Deadline() (time.Time, bool) {
	if at, ok := d.parent.Deadline(); ok && at.Before(d.at) {
		return at, true
	}
	return d.at, true
}

// Done implements [context.Context].
func (d *deadline) Done() <-chan struct{} { return d.look().Done() }

// Err implements [context.Context].
func (d *deadline) Err() error { return d.look().Err() }

// Value implements [context.Context]. It also leads package context to the
// cause of what look made.
func (d *deadline) Value(key any) any {
	if key == (depthKey{}) {
		return d.depth
	}
	return d.look().Value(key)
}

// look makes the context that does the work.
func (d *deadline) look() context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.real == nil {
		cause := d.cause
		d.real, d.cancel = context.WithDeadlineCause(d.parent, d.at, &cause)
		if d.over {
			d.cancel()
		}
	}
	return d.real
}

// stop cancels the context, as a callback's ends when it returns.
func (d *deadline) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	if d.cancel != nil {
		d.cancel()
	}
}
