package reliabletest

import (
	"time"
)

// Now is the Outbox's time. It begins as the computer's when the Outbox is
// made, and moves when [Outbox.Advance] says so.
func (o *Outbox) Now() time.Time { return o.began.Add(o.moved) }

// Advance moves the time forward: what waits no longer than d is due in the next
// Drain or Run. Callbacks don't see this clock: their contexts, and time.Now in
// them, are the computer's.
func (o *Outbox) Advance(d time.Duration) {
	o.t.Helper()
	if d < 0 {
		o.t.Fatalf("reliabletest: Advance(%s): time moves forward", d)
	}
	o.moved += d
}

// AdvanceToNext moves the time forward to when the next entry is due, at most a
// millisecond more, and returns how far that was; the usual backoff has jitter,
// so that a test can't tell before. It fails the test if nothing waits.
func (o *Outbox) AdvanceToNext() time.Duration {
	o.t.Helper()
	pending, err := o.pending()
	if err != nil {
		o.t.Fatalf("reliabletest: %v", err)
	}
	var next time.Time
	for _, r := range pending {
		if at := r.retryAt; next.IsZero() || at.Before(next) {
			next = at
		}
	}
	if next.IsZero() {
		o.t.Fatalf("reliabletest: AdvanceToNext: no entry waits")
	}
	d := max(next.Truncate(time.Millisecond).Add(time.Millisecond).Sub(o.Now()), 0)
	o.Advance(d)
	return d
}

// isDue reports whether an entry is to run now. One that never ran waits for
// the RunAt that a test has made of its own time, which goes on by itself.
func (o *Outbox) isDue(r *record) bool {
	now := o.Now()
	if len(r.entry.Callbacks) == 0 {
		now = time.Now().Add(o.moved)
	}
	return !r.retryAt.Truncate(time.Millisecond).After(now)
}
