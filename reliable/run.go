package reliable

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"time"

	"gorm.io/gorm"
)

// errNotDue is what a callback's run reports when If or Unless declined.
var errNotDue = errors.New("reliable: not due")

// unit is one thing that an entry owes: a model's callback or a record
// processor.
type unit struct {
	name        string // as the entry owes it; the key of its state
	callback    *callback
	handler     *handler
	timeout     time.Duration
	maxAttempts int // 0 means the usual
	backoff     Backoff
	gate        *gate
}

// run is one run of one entry.
type run struct {
	batch   *Batch
	entry   *OutboxEntry
	units   []*unit
	states  []unitState  // of units, by position
	few     [2]unitState // what states mostly needs
	depth   int          // how many captured writes led to the entry
	next    int          // the unit to look at next
	exited  *PanicError  // the current unit called runtime.Goexit
	begun   time.Time    // when the current unit's attempt began
	change  *change
	out     Outcome
	failed  bool // a unit failed in this run
	pass    pass // of the current unit's gate
	putsOff bool // a unit was put off in this run

	progress  Progress // told of each attempt; mostly nil
	grouped   bool     // with other entries: batch processors are left to ProcessGroup
	committed bool     // the unit's transaction is committed: it is done
	lost      bool     // the lease is lost; found out in a unit's transaction
}

// begin reads what the entry says. It reports whether there is nothing to run,
// because it can't be read.
func (r *run) begin(ctx context.Context) (context.Context, bool) {
	r.out = Outcome{Entry: r.entry, Attempts: r.entry.Attempts}
	if err := r.entry.locked; err != nil {
		r.locked(err)
		return ctx, true
	}
	r.units = r.batch.plugin.units(r.entry)
	r.progress, _ = ctx.(Progress)
	if err := r.readStates(); err != nil {
		r.undecodable(err)
		return ctx, true
	}
	ctx, depth, err := r.batch.plugin.withHeaders(ctx, r.entry)
	if err != nil {
		r.undecodable(err)
	}
	r.depth = depth
	return ctx, err != nil
}

// work runs the units that are due, then reports the outcome; if grouped, it
// stops at a batch processor. A unit that calls runtime.Goexit ends the
// goroutine; the rest is done before it is gone.
func (r *run) work(ctx context.Context, report func(Outcome)) {
	returned := false
	defer func() {
		if !returned && r.exited != nil {
			i := r.next - 1
			err := r.exited
			r.exited = nil
			r.note(ctx, r.units[i], &r.states[i], err)
			r.work(ctx, report)
		}
	}()
	for r.next < len(r.units) {
		i := r.next
		r.next++
		state := &r.states[i]
		if !state.due(r.batch.now()) {
			continue
		}
		if ctx.Err() != nil || r.lost {
			r.out.Interrupted = true
			break
		}
		u := r.units[i]
		if !r.admit(u, state) {
			continue
		}
		if u.batch() {
			if r.grouped {
				returned = true
				return
			}
			r.batch.together(ctx, r.depth, []*member{{r, ctx}})
			continue
		}
		r.begun = time.Now()
		err := r.call(ctx, u, Attempt{Entry: r.entry, Callback: u.name, Number: oneMore(state.Attempts), Token: r.batch.token})
		r.note(ctx, u, state, err)
	}
	returned = true
	r.leave()
	r.conclude()
	report(r.out)
}

// note records what an attempt of a unit came to.
func (r *run) note(ctx context.Context, u *unit, state *unitState, err error) {
	err = r.keep(err)
	r.report(ctx, u, err)
	result := Result{Callback: u.name, Attempt: oneMore(state.Attempts), Took: time.Since(r.begun)}

	var snooze *snoozeError
	var discard *discardError
	var permanent *permanentError
	switch {
	case err == nil:
		state.State = unitDone
	case r.lost:
		r.out.Interrupted = true
		return
	case errors.Is(err, errNotDue):
		state.State = unitDone
		return // it never started
	case errors.As(err, &discard):
		state.State, result.Discard = unitDiscarded, discard.reason
	case errors.As(err, &snooze):
		result.Snoozed, result.RetryAt = true, r.batch.now().Add(snooze.delay)
		state.RetryAt = &result.RetryAt
	case ctx.Err() != nil: // for a reason that is not the callback's
		r.out.Interrupted = true
		return
	default:
		r.failed = true
		result.Err = err
		state.Attempts = oneMore(state.Attempts)
		state.ErrorClass, state.Error = errorClass(err), errorText(err)
		r.out.ErrorClass, r.out.ErrorMessage = state.ErrorClass, state.Error
		if r.exhausted(state.Attempts, u.maxAttempts, errors.As(err, &permanent)) {
			state.State, state.RetryAt, result.Dead = unitDead, nil, true
		} else {
			result.RetryAt = r.batch.now().Add(max(u.backoff(state.Attempts), 0))
			state.RetryAt = &result.RetryAt
		}
	}
	r.out.Results = append(r.out.Results, result)
}

// call runs a unit's function and waits for it, however long it takes. A panic
// is its error. If the function calls runtime.Goexit, call can't return: it
// leaves the error in r.exited.
func (r *run) call(ctx context.Context, u *unit, a Attempt) (err error) {
	timeout := r.batch.timeout(u.timeout)
	if u.callback != nil && u.callback.tx {
		timeout = min(timeout, MaxTxTimeout)
	}
	bounded := &deadline{parent: ctx, at: r.begun.Add(timeout), cause: timeoutError{u.name, timeout}, depth: r.depth}
	defer bounded.stop()
	r.tell(u, timeout)
	returned := false
	defer func() {
		if returned {
			return
		}
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
			return
		}
		r.exited = &PanicError{Stack: debug.Stack()}
	}()
	err = r.invoke(bounded, u, a) //nolint:contextcheck // bounded is a child of ctx
	returned = true
	if errors.Is(err, context.DeadlineExceeded) && bounded.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", context.Cause(bounded), err) //nolint:contextcheck // as above
	}
	return err
}

// invoke runs a unit inside what surrounds it.
func (r *run) invoke(ctx context.Context, u *unit, a Attempt) error {
	if !r.batch.surrounded() {
		return r.perform(ctx, u, a)
	}
	return r.batch.surround(ctx, a, func(ctx context.Context) error { return r.perform(ctx, u, a) })
}

// perform runs the function that was registered.
func (r *run) perform(ctx context.Context, u *unit, a Attempt) error {
	if u.handler != nil {
		if !u.handler.processor.Applies(r.entry) {
			return errNotDue
		}
		return u.handler.processor.Process(ctx, r.entry)
	}
	if r.change == nil {
		c, err := r.batch.change(ctx, r.entry)
		switch {
		case err != nil && unreachable(err): // the database's trouble, not the callback's: no attempt is burnt
			r.batch.plugin.cfg.Monitor.Publish(&ErrorOccurred{Step: "read", Err: err})
			return Snooze(unreachableFor)
		case err != nil:
			return err
		}
		r.change = c
	}
	if r.change.op == OpUpdate && r.change.gone {
		switch u.callback.whenGone {
		case GoneDiscard:
			return Discard("the row is gone")
		case GoneRetry:
			return fmt.Errorf("%s %s is gone", r.entry.ResourceClass, r.entry.ResourceID)
		case GoneRun:
		}
	}
	if !u.callback.tx {
		return u.callback.run(ctx, r.change, a, nil)
	}
	return u.callback.run(ctx, r.change, a, func(ctx context.Context, fn func(tx *gorm.DB) error) error { return r.transact(ctx, u, fn) })
}

// oneMore counts an attempt. A number that no worker wrote stays one that the
// column takes, or no finish could write it, nor what is written with it.
func oneMore(attempts int) int { return min(max(attempts, 0), math.MaxInt32-1) + 1 }

// conclude decides what becomes of the entry.
func (r *run) conclude() {
	var pending, dead bool
	for i := range r.states {
		switch state := &r.states[i]; state.State {
		case unitPending:
			at := r.batch.now()
			if state.RetryAt != nil {
				at = *state.RetryAt
			}
			if !pending || at.Before(r.out.RetryAt) {
				r.out.RetryAt = at
			}
			pending = true
		case unitDead:
			dead = true
		}
	}
	if r.out.Attempts = r.entry.Attempts; r.failed {
		r.out.Attempts = oneMore(r.out.Attempts)
	}
	switch {
	case pending:
		r.out.State = StateRetry
	case dead:
		r.die()
	default:
		r.out.State = StateDone
	}
	if r.failed || len(r.entry.Callbacks) > 0 || pending {
		r.out.Callbacks = r.writeStates()
	}
}

// undecodable ends a run whose entry can't be read. Its states are left as
// they are; it is retried like any other failure, and dead in the end.
func (r *run) undecodable(err error) {
	r.out.Attempts = oneMore(r.out.Attempts)
	r.out.ErrorClass, r.out.ErrorMessage = errorClass(err), errorText(err)
	r.out.Callbacks = r.entry.Callbacks
	result := Result{Attempt: r.out.Attempts, Err: fmt.Errorf("entry %d: %w", r.entry.ID, err)}
	if r.out.State = StateRetry; r.exhausted(r.out.Attempts, 0, false) {
		result.Dead = true
		r.die()
	} else {
		result.RetryAt = r.batch.now().Add(Exponential(DefaultBackoffBase, DefaultBackoffCap)(r.out.Attempts))
		r.out.RetryAt = result.RetryAt
	}
	r.out.Results = append(r.out.Results, result)
}
