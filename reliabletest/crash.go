package reliabletest

import (
	"context"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Point is where a callback's process dies.
type Point uint8

// The points of a crash.
const (
	BeforeRun Point = iota + 1 // before the callback began
	AfterRun                   // after it returned, before what it came to was written
)

// Crash lets the process that runs a callback die at a point, once. name is the
// callback's, or a record processor's. What its entry came to in that run is lost,
// also of the callbacks before it; what a RunTx has committed is not. The entry
// is due at once, as after the end of a dead worker's lease, and the next Run has
// it again, under a higher token, so that a test sees that a callback may run
// twice. Nothing else of the process dies: what callbacks keep in memory stays.
func (o *Outbox) Crash(name string, at Point) {
	o.t.Helper()
	if at != BeforeRun && at != AfterRun {
		o.t.Fatalf("reliabletest: Crash(%q, %d): want BeforeRun or AfterRun", name, at)
	}
	if o.crash == nil {
		o.crash = make(map[string]Point)
		o.t.Cleanup(func() {
			for name := range o.crash {
				o.t.Errorf("reliabletest: Crash(%q): no such callback ran", name)
			}
		})
	}
	o.crash[name] = at
}

// mortal runs a callback, and dies where it is to.
func (r *run) mortal(ctx context.Context, a reliable.Attempt, next func(context.Context) error) error {
	at := r.outbox.crash[a.Callback]
	delete(r.outbox.crash, a.Callback)
	if at == BeforeRun {
		return r.die()
	}
	err := next(ctx)
	if at == AfterRun {
		return r.die()
	}
	return err
}

// die ends the run: nothing more of the entry begins.
func (r *run) die() error {
	r.died = true
	r.kill(reliable.ErrLeaseLost)
	return reliable.ErrLeaseLost
}
