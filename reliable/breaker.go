package reliable

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// Breaker says when a callback rests because what it calls is down, and how
// fast failed runs may be repeated. The zero value is the usual setting, and
// every callback has it unless it says otherwise; see Config.Breaker.
//
// A breaker opens when, of the runs that ended in the last Window, at least
// MinAttempts were counted and at least FailureRatio of them failed; or when
// MinAttempts in a row failed, however long they took. Errors, panics and
// timeouts are failures. [Permanent] and [Discard] are not, since something
// answered; a run that [Snooze], a shutdown or a lost lease ended does not
// count at all.
//
// While it is open, the callback does not run: no attempt is burnt. Entries
// that owe nothing else are not claimed and not written; others run what else
// they owe. After CoolDown, Probes runs are let through. If they fail, it is
// open again, twice as long, at most MaxCoolDown. If not, it closes: runs
// begin with 10 per second, and twice as many every tenth of SlowStart, until
// that is over.
//
// Apart from that, when more than half of the runs in Window failed, runs
// after an entry's first are at most RetryShare of all, or RetryFloor per
// second if that is more; those beyond it wait, and burn no attempt.
//
// The state is kept per callback in each worker process, never in the database: each finds
// out for itself, at the price of MinAttempts failures.
type Breaker struct {
	// Off lets the callback run however it fails, as often as its Backoff says.
	Off bool

	// FailureRatio is above 0 and at most 1. Zero means 0.5.
	FailureRatio float64

	// MinAttempts is how many runs tell enough. Zero means 20.
	MinAttempts int

	// Window is how far back runs count. Zero means 10 s.
	Window time.Duration

	// CoolDown and MaxCoolDown are the first rest and the longest. Zero means
	// 5 s and one minute (or CoolDown, if that is longer).
	CoolDown, MaxCoolDown time.Duration

	// Probes is how many runs find out whether a rest was enough. Zero means 3.
	Probes int

	// SlowStart is how long runs are slowed after that. Zero means 10 s.
	SlowStart time.Duration

	// RetryShare is above 0 and at most 1. Zero means 0.1.
	RetryShare float64

	// RetryFloor is per second. Zero means 1.
	RetryFloor float64
}

// withDefaults fills in what is not set.
func (b Breaker) withDefaults() Breaker {
	b.FailureRatio = cmp.Or(b.FailureRatio, 0.5)
	b.MinAttempts = cmp.Or(b.MinAttempts, 20)
	b.Window = cmp.Or(b.Window, 10*time.Second)
	b.CoolDown = cmp.Or(b.CoolDown, 5*time.Second)
	b.MaxCoolDown = cmp.Or(b.MaxCoolDown, max(time.Minute, b.CoolDown))
	b.Probes = cmp.Or(b.Probes, 3)
	b.SlowStart = cmp.Or(b.SlowStart, 10*time.Second)
	b.RetryShare = cmp.Or(b.RetryShare, 0.1)
	b.RetryFloor = cmp.Or(b.RetryFloor, 1)
	return b
}

// validate reports what makes no sense.
func (b *Breaker) validate() error {
	if b == nil {
		return nil
	}
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("Breaker."+format, args...)) }
	for _, f := range []struct {
		name  string
		value float64
	}{{"FailureRatio", b.FailureRatio}, {"RetryShare", b.RetryShare}} {
		if !(f.value >= 0 && f.value <= 1) {
			wrong("%s is %v: want more than 0 and at most 1, or 0 for the usual", f.name, f.value)
		}
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"Window", b.Window}, {"CoolDown", b.CoolDown}, {"MaxCoolDown", b.MaxCoolDown}, {"SlowStart", b.SlowStart}} {
		if d.value != 0 && d.value < time.Millisecond {
			wrong("%s is %s: want 1ms or more, or 0 for the usual", d.name, d.value)
		}
	}
	if b.MaxCoolDown != 0 && b.MaxCoolDown < b.CoolDown {
		wrong("MaxCoolDown is %s: want CoolDown (%s) or more", b.MaxCoolDown, b.CoolDown)
	}
	if b.MinAttempts < 0 || b.Probes < 0 {
		wrong("MinAttempts is %d and Probes %d: want 1 or more, or 0 for the usual", b.MinAttempts, b.Probes)
	}
	if !(b.RetryFloor >= 0 && b.RetryFloor <= 1e9) {
		wrong("RetryFloor is %v: want more than 0 per second, or 0 for the usual", b.RetryFloor)
	}
	return errors.Join(errs...)
}

// BreakerOpened says that a callback fails too often and rests in this
// process, for now. It comes again each time that the probes after a rest fail.
type BreakerOpened struct {
	Context       string
	ResourceClass string // of a model's callback; empty for a record processor
	Callback      string
	Trip          int           // 1 for the first, then how often in a row
	Failed        int           // so many ...
	Attempts      int           // ... of so many runs failed
	Err           error         // the last failure
	Rest          time.Duration // until the next probes
}

// BreakerClosed says that a callback's probes succeeded: it runs again, slowly
// at first.
type BreakerClosed struct {
	Context       string
	ResourceClass string
	Callback      string
	Took          time.Duration // since it opened first
}

// Name implements [Event].
func (*BreakerOpened) Name() string { return "breaker_opened" }

// Name implements [Event].
func (*BreakerClosed) Name() string { return "breaker_closed" }

func (*BreakerOpened) event() {}
func (*BreakerClosed) event() {}
