package reliable

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	maxAttempts int
	backoff     Backoff
}

// unitState is what an entry keeps of a unit once one of its units failed.
type unitState struct {
	State      string     `json:"state"` // pending, done, discarded or dead
	Attempts   int        `json:"attempts,omitempty"`
	RetryAt    *time.Time `json:"retry_at,omitempty"`
	ErrorClass string     `json:"error_class,omitempty"`
	Error      string     `json:"error,omitempty"`
}

const (
	unitPending   = "pending"
	unitDone      = "done"
	unitDiscarded = "discarded"
	unitDead      = "dead"
)

// run is one run of one entry.
type run struct {
	batch  *Batch
	entry  *OutboxEntry
	units  []*unit
	states []unitState // of units, by position
	change *change
	out    Outcome
	failed bool // a unit failed in this run

	committed bool // the unit's transaction is committed: it is done
	lost      bool // the lease is lost; found out in a unit's transaction
}

func (r *run) process(ctx context.Context) Outcome {
	r.out = Outcome{Entry: r.entry, Attempts: r.entry.Attempts}
	r.units = r.batch.plugin.units(r.entry)
	if err := r.readStates(); err != nil {
		return r.undecodable(err)
	}
	ctx, err := r.batch.plugin.withHeaders(ctx, r.entry)
	if err != nil {
		return r.undecodable(err)
	}
	for i, u := range r.units {
		state := &r.states[i]
		if state.State != unitPending || state.RetryAt != nil && state.RetryAt.After(r.batch.now()) {
			continue
		}
		if ctx.Err() != nil || r.lost {
			r.out.Interrupted = true
			break
		}
		r.attempt(ctx, u, state)
	}
	r.conclude()
	return r.out
}

// attempt runs one unit and records what it came to.
func (r *run) attempt(ctx context.Context, u *unit, state *unitState) {
	a := Attempt{Entry: r.entry, Callback: u.name, Number: state.Attempts + 1, Token: r.batch.token}
	begun := time.Now()
	err := r.keep(r.call(ctx, u, a))
	result := Result{Callback: u.name, Attempt: a.Number, Took: time.Since(begun)}

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
		state.Attempts++
		state.ErrorClass, state.Error = errorClass(err), errorText(err)
		r.out.ErrorClass, r.out.ErrorMessage = state.ErrorClass, state.Error
		if errors.As(err, &permanent) || state.Attempts >= u.maxAttempts {
			state.State, state.RetryAt, result.Dead = unitDead, nil, true
		} else {
			result.RetryAt = r.batch.now().Add(max(u.backoff(state.Attempts), 0))
			state.RetryAt = &result.RetryAt
		}
	}
	r.out.Results = append(r.out.Results, result)
}

// call runs a unit's function in a goroutine of its own, so that
// runtime.Goexit ends only that, and waits for it however long it takes.
func (r *run) call(ctx context.Context, u *unit, a Attempt) error {
	timeout := r.batch.timeout(u.timeout)
	if u.callback != nil && u.callback.tx {
		timeout = min(timeout, MaxTxTimeout)
	}
	bounded, cancel := context.WithTimeoutCause(ctx, timeout, &timeoutError{u.name, timeout})
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- guard(func() error { return r.invoke(bounded, u, a) }, done) }()
	err := <-done
	if errors.Is(err, context.DeadlineExceeded) && bounded.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", context.Cause(bounded), err)
	}
	return err
}

// invoke runs a unit inside the registry's middleware.
func (r *run) invoke(ctx context.Context, u *unit, a Attempt) error {
	next := func(ctx context.Context) error { return r.perform(ctx, u, a) }
	chain := r.batch.plugin.cfg.Registry.middleware
	for i := len(chain) - 1; i >= 0; i-- {
		mw, inner := chain[i], next
		next = func(ctx context.Context) error {
			called := false
			err := mw(ctx, a, func(ctx context.Context) error {
				called = true
				return inner(ctx)
			})
			if err == nil && !called {
				return fmt.Errorf("middleware %d returned without calling next", i+1)
			}
			return err
		}
	}
	return next(ctx)
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
		r.out.Attempts++
	}
	switch {
	case pending:
		r.out.State = StateRetry
	case dead:
		r.out.State = StateDead
	default:
		r.out.State = StateDone
	}
	if r.failed || len(r.entry.Callbacks) > 0 || pending {
		r.out.Callbacks = r.writeStates()
	}
}

// readStates fills states: what the entry says, pending for what it does not.
func (r *run) readStates() error {
	r.states = make([]unitState, len(r.units))
	var stored map[string]unitState
	if len(r.entry.Callbacks) > 0 {
		if err := json.Unmarshal(r.entry.Callbacks, &stored); err != nil {
			return fmt.Errorf("column callbacks: %w", err)
		}
	}
	for i, u := range r.units {
		r.states[i] = stored[u.name]
		switch r.states[i].State {
		case unitDone, unitDiscarded, unitDead:
		default:
			r.states[i].State = unitPending
		}
	}
	return nil
}

func (r *run) writeStates() json.RawMessage {
	stored := make(map[string]*unitState, len(r.units))
	for i, u := range r.units {
		stored[u.name] = &r.states[i]
	}
	data, err := json.Marshal(stored)
	if err != nil { // a time beyond year 9999 is all that could fail
		return r.entry.Callbacks
	}
	return data
}

// undecodable ends a run whose entry can't be read. Its states are left as
// they are; it is retried like any other failure, and dead in the end.
func (r *run) undecodable(err error) Outcome {
	r.out.Attempts++
	r.out.ErrorClass, r.out.ErrorMessage = errorClass(err), errorText(err)
	r.out.Callbacks = r.entry.Callbacks
	result := Result{Attempt: r.out.Attempts, Err: fmt.Errorf("entry %d: %w", r.entry.ID, err)}
	if r.out.State = StateRetry; r.out.Attempts >= DefaultMaxAttempts {
		r.out.State, result.Dead = StateDead, true
	} else {
		result.RetryAt = r.batch.now().Add(Exponential(DefaultBackoffBase, DefaultBackoffCap)(r.out.Attempts))
		r.out.RetryAt = result.RetryAt
	}
	r.out.Results = append(r.out.Results, result)
	return r.out
}
