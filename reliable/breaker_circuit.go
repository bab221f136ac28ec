package reliable

import (
	"math"
	"time"
)

// verdict is what an ended run tells of what its callback calls.
type verdict uint8

const (
	nothing verdict = iota // interrupted, snoozed or declined
	answered
	failing
)

// phase is what a circuit lets through.
type phase uint8

const (
	closed  phase = iota // everything but retries beyond the budget
	open                 // nothing
	probing              // a few
	slow                 // more and more
)

// turn is what a run's end did to a circuit.
type turn uint8

const (
	stays turn = iota
	opens
	closes
)

const (
	buckets   = 10              // of a window
	slowRate  = 10.0            // runs per second that slow begins with
	slowSteps = 10              // times that it doubles
	longest   = time.Minute     // that a retry beyond the budget waits
	probeWait = time.Second     // for the verdict of the probes
	spread    = time.Second     // over which what waited for one moment comes back
	offer     = time.Second / 5 // of slow's rate is worth a claim
)

// bucket counts the runs that ended in one part of the window.
type bucket struct {
	slot                      int64
	answered, failed, retries int
}

// circuit is a breaker and a retry budget, without locks and without a clock:
// now is a time since any beginning, and never goes back.
type circuit struct {
	Breaker                // with its defaults
	dice    func() float64 // from 0 to 1; spreads what would happen at one moment

	phase      phase
	generation uint64 // runs that began in an earlier one tell nothing about this
	window     [buckets]bucket
	streak     int // failures since the last success
	failedAt   time.Duration

	openedAt         time.Duration // the first time in a row
	trips            int           // in a row
	failed, attempts int           // that the last trip was for
	rest             time.Duration
	until            time.Duration // open ends

	granted, good, bad int // probes
	grantedAt          time.Duration

	slowAt    time.Duration // slow began
	tokens    float64       // of slow, as of filledAt
	filledAt  time.Duration
	retriesAt time.Duration // when the next retry beyond the budget may come back
}

// enter asks whether a run may begin now. If not, wait says when to ask again.
func (c *circuit) enter(now time.Duration, retry bool) (wait time.Duration, ok bool) {
	c.advance(now)
	switch c.phase {
	case open:
		return c.until - now + c.jitter(spread), false
	case probing:
		if c.granted >= c.Probes {
			return probeWait + c.jitter(spread), false
		}
		c.granted++
		c.grantedAt = now
		return 0, true
	case slow:
		if c.fill(now); c.tokens < 1 {
			return c.jitter(spread), false
		}
	case closed:
	}
	if retry {
		if wait := c.overBudget(now); wait > 0 {
			return wait, false
		}
		c.bucket(now).retries++
	}
	if c.phase == slow {
		c.tokens--
	}
	return 0, true
}

// settle takes in how a run ended that began in a generation.
func (c *circuit) settle(now time.Duration, generation uint64, v verdict) turn {
	c.advance(now)
	if generation != c.generation {
		return stays
	}
	switch c.phase {
	case probing:
		return c.probed(now, v)
	case closed, slow:
		return c.counted(now, v)
	default:
		return stays
	}
}

// probed takes in how a probe ended.
func (c *circuit) probed(now time.Duration, v verdict) turn {
	enough := max(int(math.Ceil(c.FailureRatio*float64(c.Probes))), 1) // failures
	switch v {
	case nothing:
		c.granted--
	case answered:
		if c.good++; c.good > c.Probes-enough {
			c.enterPhase(slow)
			c.forget()
			c.slowAt, c.filledAt, c.tokens = now, now, slowRate*offer.Seconds()
			return closes
		}
	case failing:
		if c.bad++; c.bad >= enough {
			c.trip(now, c.bad, c.good+c.bad)
			return opens
		}
	}
	return stays
}

// counted takes in how a run ended that was no probe.
func (c *circuit) counted(now time.Duration, v verdict) turn {
	switch v {
	case answered:
		c.bucket(now).answered++
		c.streak = 0
	case failing:
		c.bucket(now).failed++
		c.streak++
		c.failedAt = now
		attempts, failed, _ := c.sum(now)
		least := c.MinAttempts
		if c.phase == slow { // it is known for trouble
			least = min(least, 2*c.Probes)
		}
		if c.streak >= least || attempts >= least && float64(failed) >= c.FailureRatio*float64(attempts) {
			c.trip(now, max(failed, c.streak), max(attempts, c.streak))
			return opens
		}
	case nothing:
	}
	return stays
}

// trip opens the circuit, for longer than the last time in a row.
func (c *circuit) trip(now time.Duration, failed, attempts int) {
	c.failed, c.attempts = failed, attempts
	if c.trips == 0 {
		c.openedAt, c.rest = now, c.CoolDown
	} else {
		c.rest = min(2*c.rest, c.MaxCoolDown)
	}
	c.trips++
	c.enterPhase(open)
	c.until = now + c.rest - c.jitter(c.rest/5)
}

// advance does what time alone does.
func (c *circuit) advance(now time.Duration) {
	switch {
	case c.phase == open && now >= c.until, c.phase == probing && c.granted >= c.Probes && now >= c.grantedAt+c.rest:
		// Either the rest is over, or the probes take as long as a rest: others try.
		c.enterPhase(probing)
		c.granted, c.good, c.bad = 0, 0, 0
	case c.phase == slow && now >= c.slowAt+c.SlowStart:
		c.phase, c.trips = closed, 0
	}
}

func (c *circuit) enterPhase(p phase) {
	c.phase = p
	c.generation++
}

// forget empties the window.
func (c *circuit) forget() {
	c.window, c.streak, c.retriesAt = [buckets]bucket{}, 0, 0
}

// calm reports whether there is nothing to remember, and forgets it. Ask after
// a success.
func (c *circuit) calm(now time.Duration) bool {
	if c.phase != closed || c.streak > 0 || now < c.failedAt+c.Window {
		return false
	}
	c.forget()
	return true
}

// room returns how many runs may begin soon, below zero if there is no bound.
func (c *circuit) room(now time.Duration) int {
	switch c.advance(now); c.phase {
	case open:
		return 0
	case probing:
		return c.Probes - c.granted
	case slow:
		c.fill(now)
		if c.tokens < max(c.rate(now)*offer.Seconds(), 1) {
			return 0
		}
		return int(c.tokens)
	default:
		return -1
	}
}

// rate returns how many runs per second slow lets through.
func (c *circuit) rate(now time.Duration) float64 {
	return slowRate * math.Exp2(slowSteps*float64(now-c.slowAt)/float64(c.SlowStart))
}

// fill adds the tokens of the time since it was last called.
func (c *circuit) fill(now time.Duration) {
	rate := c.rate(now)
	c.tokens = min(c.tokens+rate*(now-c.filledAt).Seconds(), rate)
	c.filledAt = now
}

// overBudget returns how long a retry must wait, 0 if it may run.
func (c *circuit) overBudget(now time.Duration) time.Duration {
	attempts, failed, retries := c.sum(now)
	allowed := max(c.RetryShare*float64(attempts), c.RetryFloor*c.Window.Seconds())
	if 2*failed <= attempts || float64(retries) < allowed {
		return 0
	}
	gap := min(float64(c.Window)/allowed, float64(longest))
	c.retriesAt = max(c.retriesAt, now) + time.Duration(gap)
	if wait := c.retriesAt - now; wait < longest {
		return wait
	}
	c.retriesAt = now + longest
	return longest - c.jitter(longest/2)
}

// bucket returns where runs that end now are counted.
func (c *circuit) bucket(now time.Duration) *bucket {
	slot := c.slot(now)
	b := &c.window[slot%buckets]
	if b.slot != slot {
		*b = bucket{slot: slot}
	}
	return b
}

// sum returns what ended, what of it failed, and how many retries began, in
// the window.
func (c *circuit) sum(now time.Duration) (attempts, failed, retries int) {
	slot := c.slot(now)
	for i := range c.window {
		if b := &c.window[i]; slot-b.slot < buckets {
			attempts += b.answered + b.failed
			failed += b.failed
			retries += b.retries
		}
	}
	return attempts, failed, retries
}

// slot numbers the parts of time so that a bucket that was never used is out of
// every window.
func (c *circuit) slot(now time.Duration) int64 {
	return int64(now/(c.Window/buckets)) + buckets
}

func (c *circuit) jitter(d time.Duration) time.Duration {
	return time.Duration(c.dice() * float64(d))
}
