package reliable

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	pauseWait = time.Second      // until a paused callback is due again, if nothing else of its entry is
	mixedWait = 30 * time.Second // until one is due again that waits beside others, at least
)

// admit asks the operator's pauses and the unit's breaker whether an attempt
// may begin. If not, it puts the unit off; no attempt is burnt.
func (r *run) admit(u *unit, state *unitState) bool {
	plugin := r.batch.plugin
	if plugin.pauses.Load() != nil && plugin.paused(r.entry, u) {
		r.wait(state, pauseWait+rand.N(pauseWait))
		return false
	}
	if r.batch.NoBreaker {
		return true
	}
	pass, wait, ok := u.gate.enter(state.Attempts > 0)
	r.pass = pass
	if !ok {
		r.wait(state, wait)
	}
	return ok
}

// report tells the unit's breaker how an attempt ended.
func (r *run) report(ctx context.Context, u *unit, err error) {
	if r.batch.NoBreaker {
		return
	}
	v := verdictOf(ctx, err)
	if r.lost {
		v = nothing
	}
	if e := u.gate.settle(r.pass, v, err); e != nil {
		r.batch.plugin.cfg.Monitor.Publish(e)
	}
}

// wait puts a unit off.
func (r *run) wait(state *unitState, d time.Duration) {
	at := r.batch.now().Add(d)
	state.RetryAt, state.putOff = &at, true
	r.putsOff = true
}

// leave gives an entry of which a unit was put off the kind of what is
// pending, so that claims can leave it where it is, however many there are of
// it, for as long as that may not run. Beside units that wait for a time of
// their own, they can't: then the others are due seldom enough.
func (r *run) leave() {
	if !r.putsOff {
		return
	}
	var pending []string
	mixed := false
	for i := range r.states {
		if r.states[i].State == unitPending {
			pending = append(pending, r.units[i].name)
			mixed = mixed || !r.states[i].putOff
		}
	}
	if len(pending) < len(r.units) {
		r.out.Kind = pendingKind(r.entry, pending)
	}
	for i := range r.states {
		if mixed && r.states[i].putOff {
			at := r.batch.now().Add(mixedWait + rand.N(mixedWait))
			r.states[i].RetryAt = &at
		}
	}
}

// pendingKind is the kind of entries like e of which only some units are
// pending. It is apart from that of entries that owe no others: another binary
// may know those.
func pendingKind(e *OutboxEntry, pending []string) int64 {
	return EntryKind(e.Context, e.ResourceClass, e.EventName, slices.Concat(e.Owed, []string{"\x00pending"}, pending))
}
