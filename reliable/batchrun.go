package reliable

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"
)

// batch reports whether the unit is a BatchProcessor.
func (u *unit) batch() bool { return u.handler != nil && u.handler.together != nil }

// Group returns the first of entries with others that are to be processed with
// it, by one call of [Batch.ProcessGroup]: those that owe the same
// [BatchProcessor], at most most in all. rest is what is left, in order.
// entries is not changed.
func (b *Batch) Group(entries []*OutboxEntry, most int) (group, rest []*OutboxEntry) {
	h := b.batchOf(entries[0])
	if h == nil || most < 2 {
		return entries[:1:1], entries[1:]
	}
	most = min(most, h.most)
	rest = make([]*OutboxEntry, 0, len(entries))
	for i, e := range entries {
		switch {
		case len(group) == most:
			return group, append(rest, entries[i:]...)
		case i == 0 || b.batchOf(e) == h:
			group = append(group, e)
		default:
			rest = append(rest, e)
		}
	}
	return group, rest
}

// batchOf returns the first batch processor that is due for an entry, nil if
// there is none.
func (b *Batch) batchOf(e *OutboxEntry) *handler {
	if !b.plugin.cfg.Registry.batches {
		return nil
	}
	r := run{batch: b, entry: e, units: b.plugin.units(e)}
	if !slices.ContainsFunc(r.units, (*unit).batch) || r.readStates() != nil {
		return nil
	}
	for i, u := range r.units {
		if u.batch() && r.states[i].due(b.now()) {
			return u.handler
		}
	}
	return nil
}

// member is the run of one entry of a group.
type member struct {
	*run
	ctx context.Context //nolint:containedctx // with the entry's headers; for as long as the group runs
}

// unit returns the batch processor that the run stands before.
func (m *member) unit() *unit { return m.units[m.next-1] }

// ProcessGroup is [Batch.Process] for entries that [Batch.Group] has put
// together. It returns their outcomes, in order. runtime.Goexit in what they
// owe does not end the calling goroutine.
func (b *Batch) ProcessGroup(ctx context.Context, entries []*OutboxEntry) []Outcome {
	runs := make([]run, len(entries))
	ready := make([]*member, 0, len(entries)) // before a batch processor
	depth := 0
	for i, e := range entries {
		m := &member{run: &runs[i]}
		m.batch, m.entry, m.grouped = b, e, true
		var unreadable bool
		if m.ctx, unreadable = m.begin(ctx); !unreadable && m.goOn() {
			ready = append(ready, m)
		}
		depth = max(depth, m.depth)
	}
	for len(ready) > 0 {
		h := ready[0].unit().handler
		var now, next []*member
		for _, m := range ready {
			if m.unit().handler == h && len(now) < h.most {
				now = append(now, m)
			} else {
				next = append(next, m)
			}
		}
		b.together(ctx, depth, now)
		for _, m := range now {
			if m.goOn() {
				next = append(next, m)
			}
		}
		ready = next
	}
	outcomes := make([]Outcome, len(runs))
	for i := range runs {
		outcomes[i] = runs[i].out
	}
	return outcomes
}

// goOn runs what is due up to a batch processor; false means to the end.
func (m *member) goOn() bool {
	ended := false
	_ = apart(func() error { // what a unit comes to is in the outcome, also runtime.Goexit
		m.work(m.ctx, func(Outcome) { ended = true })
		return nil
	})
	return !ended
}

// apart calls fn in a goroutine of its own, and waits for it. A panic or
// runtime.Goexit is its error.
func apart(fn func() error) (err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		returned := false
		defer func() {
			if !returned {
				err = &PanicError{Value: recover(), Stack: debug.Stack()}
			}
		}()
		err = fn()
		returned = true
	}()
	<-done
	return err
}

// together calls a batch processor for runs that stand before it, and notes
// what each came to.
func (b *Batch) together(ctx context.Context, depth int, members []*member) {
	begun := time.Now()
	var errs []error
	if ctx.Err() == nil { // asked before the cause: it may find that the lease is over
		errs = b.callTogether(ctx, depth, members)
	} else {
		errs = slices.Repeat([]error{context.Cause(ctx)}, len(members))
	}
	for i, m := range members {
		m.begun = begun
		m.note(ctx, m.unit(), &m.states[m.next-1], errs[i])
	}
}

// callTogether returns an error for each member.
func (b *Batch) callTogether(ctx context.Context, depth int, members []*member) []error {
	entries := make([]*OutboxEntry, len(members))
	for i, m := range members {
		entries[i] = m.entry
	}
	first, u := members[0], members[0].unit()
	a := Attempt{Entry: first.entry, Batch: entries, Callback: u.name, Number: oneMore(first.states[first.next-1].Attempts), Token: b.token}
	timeout := b.timeout(u.timeout)
	bounded := &deadline{parent: ctx, at: time.Now().Add(timeout), cause: timeoutError{u.name, timeout}, depth: depth}
	defer bounded.stop()
	first.tell(u, timeout)
	var own *groupError
	err := apart(func() error { //nolint:contextcheck // bounded is a child of ctx
		return b.surround(bounded, a, func(ctx context.Context) error {
			errs := u.handler.together.ProcessBatch(ctx, slices.Clone(entries))
			if len(errs) != len(entries) {
				return fmt.Errorf("batch processor %s returned %d errors for %d entries: want one for each, nil for what is done", u.name, len(errs), len(entries))
			}
			if own = newGroupError(errs); own == nil {
				return nil
			}
			return own
		})
	})
	errs := make([]error, len(members))
	for i := range errs {
		if errs[i] = err; own != nil && errors.Is(err, own) { // not of the call, nor the middleware's own
			errs[i] = own.errs[i]
		}
		if errors.Is(errs[i], context.DeadlineExceeded) && bounded.Err() != nil && ctx.Err() == nil {
			errs[i] = fmt.Errorf("%w: %w", context.Cause(bounded), errs[i]) //nolint:contextcheck // as above
		}
	}
	return errs
}

// groupError is what a batch processor returned, for middleware to look at.
type groupError struct {
	errs []error // of the entries, nil for what is done
	some []error // those that are not nil
}

// newGroupError returns nil if all is done.
func newGroupError(errs []error) *groupError {
	some := slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return err == nil })
	if len(some) == 0 {
		return nil
	}
	return &groupError{errs, some}
}

// Error implements error.
func (e *groupError) Error() string {
	return fmt.Sprintf("%d of %d entries: the first: %s", len(e.some), len(e.errs), sprint(e.some[0]))
}

// Unwrap returns the errors of the entries.
func (e *groupError) Unwrap() []error { return e.some }
