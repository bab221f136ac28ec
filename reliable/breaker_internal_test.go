package reliable

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const (
	second = time.Second
	minute = time.Minute
)

// newCircuit returns a circuit whose dice always fall on 0: it waits no longer
// than it must, and rests as long as it may.
func newCircuit(b Breaker) *circuit {
	return &circuit{Breaker: b.withDefaults(), dice: func() float64 { return 0 }}
}

// run makes a run at now that ends at once.
func (c *circuit) run(now time.Duration, v verdict) (ran bool, turned turn) {
	if _, ok := c.enter(now, false); !ok {
		return false, stays
	}
	return true, c.settle(now, c.generation, v)
}

// script makes runs of "." (answered), "x" (failing) and "-" (nothing), gap
// apart, and returns how many ran before the first that opened the circuit, or
// -1.
func script(c *circuit, from, gap time.Duration, runs string) int {
	for i, r := range runs {
		_, turned := c.run(from+time.Duration(i)*gap, map[rune]verdict{'.': answered, 'x': failing, '-': nothing}[r])
		if turned == opens {
			return i + 1
		}
	}
	return -1
}

func TestCircuitOpens(t *testing.T) {
	tests := []struct {
		name string
		set  Breaker
		gap  time.Duration
		runs string
		want int
	}{
		{"all fail", Breaker{}, second / 10, strings.Repeat("x", 40), 20},
		{"half fail", Breaker{}, second / 10, strings.Repeat(".x", 40), 20},
		{"less than half fail", Breaker{}, second / 10, strings.Repeat(".x.", 40), -1},
		{"too few", Breaker{}, second / 10, ".x" + strings.Repeat("x", 17), -1},
		{"too rare, now and then a success", Breaker{}, second, strings.Repeat("xxxxxxxxxx.", 10), -1},
		{"rare, but all fail", Breaker{}, minute, strings.Repeat("x", 40), 20},
		{"nothing does not count", Breaker{}, second / 10, strings.Repeat("-x", 40), 40},
		{"a good past", Breaker{}, second / 10, strings.Repeat(".", 500) + strings.Repeat("x", 100), 520},
		{"a ratio of its own", Breaker{FailureRatio: 0.2, MinAttempts: 5}, second / 10, "....x", 5},
		{"only if all fail", Breaker{FailureRatio: 1}, second / 10, "." + strings.Repeat("x", 19) + strings.Repeat(".xxxxxxxxxx", 10), -1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := script(newCircuit(test.set), 0, test.gap, test.runs); got != test.want {
				t.Errorf("open after %d runs, want %d", got, test.want)
			}
		})
	}
}

// Rests get longer, up to the longest; each ends with probes, and nothing else
// runs. What began before a rest tells nothing about the probes.
func TestCircuitRests(t *testing.T) {
	c := newCircuit(Breaker{})
	now := time.Duration(0)
	late := c.generation
	script(c, now, 0, strings.Repeat("x", 20))
	for i, want := range []time.Duration{5 * second, 10 * second, 20 * second, 40 * second, minute, minute} {
		if wait, ok := c.enter(now, false); ok || wait != want {
			t.Fatalf("rest %d: enter() = %s, %v, want %s", i+1, wait, ok, want)
		}
		if ran, _ := c.run(now+want-1, answered); ran {
			t.Fatalf("rest %d: a run before its end", i+1)
		}
		now += want
		if n := c.room(now); n != 3 {
			t.Fatalf("rest %d: room for %d probes, want 3", i+1, n)
		}
		for range 3 {
			if _, ok := c.enter(now, true); !ok {
				t.Fatalf("rest %d: a probe may not run", i+1)
			}
		}
		if _, ok := c.enter(now, false); ok || c.room(now) != 0 {
			t.Fatalf("rest %d: a fourth probe, room for %d", i+1, c.room(now))
		}
		c.settle(now, late, failing)
		c.settle(now, late, failing)
		c.settle(now, c.generation, nothing)
		if n := c.room(now); n != 1 {
			t.Fatalf("rest %d: room for %d probes after one that told nothing, want 1", i+1, n)
		}
		if a, b := c.settle(now, c.generation, failing), c.settle(now, c.generation, failing); a != stays || b != opens || c.trips != i+2 {
			t.Fatalf("rest %d: probes did %d, %d, trip %d", i+1, a, b, c.trips)
		}
	}
}

// After good probes, runs get more and more, until there is no bound. Trouble
// then opens it again, for longer.
func TestCircuitStartsSlowly(t *testing.T) {
	c := newCircuit(Breaker{})
	script(c, 0, 0, strings.Repeat("x", 20))
	now := 5 * second
	if _, turned := c.run(now, answered); turned != stays {
		t.Fatalf("one probe did %d", turned)
	}
	if _, turned := c.run(now, answered); turned != closes {
		t.Fatalf("two good probes of three did %d, want that it closes", turned)
	}
	var last int
	for step := range 9 {
		runs := 0
		for end := now + second; now < end; now += second / 100 {
			for c.room(now) != 0 && runs < 1e5 {
				ran, _ := c.run(now, answered)
				if !ran {
					break
				}
				runs++
			}
		}
		if lowest, highest := 10<<step, 10<<(step+1)+10; runs < lowest || runs > highest || runs <= last {
			t.Errorf("second %d: %d runs after %d, want %d to %d", step+1, runs, last, lowest, highest)
		}
		last = runs
	}
	again := *c
	if n := script(&again, now, 0, strings.Repeat("x", 40)); n < 0 || again.rest != 10*second {
		t.Errorf("open after %d failures, for %s, want the second rest", n, again.rest)
	}
	if now += second; c.room(now) != -1 || c.trips != 0 {
		t.Errorf("after ten seconds, room for %d, trip %d; want no bound", c.room(now), c.trips)
	}
	if n := script(c, now+minute, 0, strings.Repeat("x", 40)); n != 20 || c.rest != 5*second {
		t.Errorf("open after %d failures, for %s, want 20 and the first rest", n, c.rest)
	}
}

// Probes that hang do not keep others from finding out.
func TestCircuitProbesHang(t *testing.T) {
	c := newCircuit(Breaker{})
	script(c, 0, 0, strings.Repeat("x", 20))
	now := 5 * second
	for range 3 {
		c.enter(now, false)
	}
	hanging := c.generation
	if n := c.room(now + 5*second - 1); n != 0 {
		t.Errorf("room for %d probes while three run, want 0", n)
	}
	now += 5 * second
	if n := c.room(now); n != 3 {
		t.Errorf("room for %d probes after a rest's time, want 3", n)
	}
	c.enter(now, false)
	if turned := c.settle(now, hanging, failing); turned != stays || c.bad != 0 {
		t.Errorf("a late probe did %d", turned)
	}
}

// A callback that does not fail never rests, and forgets what was.
func TestCircuitLeavesTheHealthyAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCircuit(Breaker{})
		now := time.Duration(0)
		for range rapid.IntRange(1, 300).Draw(t, "runs") {
			now += time.Duration(rapid.IntRange(0, 1e10).Draw(t, "gap"))
			if _, ok := c.enter(now, rapid.Bool().Draw(t, "retry")); !ok {
				t.Fatalf("a run may not begin at %s", now)
			}
			v := rapid.SampledFrom([]verdict{answered, nothing}).Draw(t, "verdict")
			if turned := c.settle(now, c.generation, v); turned != stays {
				t.Fatalf("turn %d at %s", turned, now)
			}
		}
		if !c.calm(now + c.Window) {
			t.Fatal("there is something to remember")
		}
	})
}

// It opens exactly when a recount says so.
func TestCircuitCounts(t *testing.T) {
	type ended struct {
		at     time.Duration
		failed bool
	}
	rapid.Check(t, func(t *rapid.T) {
		c := newCircuit(Breaker{FailureRatio: rapid.Float64Range(0.1, 1).Draw(t, "ratio"), MinAttempts: rapid.IntRange(1, 30).Draw(t, "min")})
		bias := rapid.IntRange(0, 10).Draw(t, "bias")
		var all []ended
		now := time.Duration(0)
		for range 300 {
			now += time.Duration(rapid.IntRange(0, 1500).Draw(t, "ms")) * time.Millisecond
			failed := rapid.IntRange(0, 10).Draw(t, "dice") < bias
			all = append(all, ended{now, failed})
			var attempts, failures, streak int
			from := now/second - 9 // the window's parts are seconds
			for _, e := range all {
				if streak++; !e.failed {
					streak = 0
				}
				if e.at/second >= from {
					attempts++
					if e.failed {
						failures++
					}
				}
			}
			want := failed && (streak >= c.MinAttempts || attempts >= c.MinAttempts && float64(failures) >= c.FailureRatio*float64(attempts))
			v := answered
			if failed {
				v = failing
			}
			if _, turned := c.run(now, v); (turned == opens) != want {
				t.Fatalf("at %s: %d of %d failed, %d in a row: turn %d", now, failures, attempts, streak, turned)
			}
			if want {
				return
			}
		}
	})
}

func TestVerdicts(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		ctx  context.Context
		err  error
		want verdict
	}{
		{t.Context(), nil, answered},
		{t.Context(), io.EOF, failing},
		{t.Context(), context.DeadlineExceeded, failing},
		{t.Context(), &PanicError{Value: 1}, failing},
		{t.Context(), fmt.Errorf("why: %w", Permanent(io.EOF)), answered},
		{t.Context(), Discard("why"), answered},
		{t.Context(), fmt.Errorf("later: %w", Snooze(second)), nothing},
		{t.Context(), errNotDue, nothing},
		{over, errors.New("cut short"), nothing},
	}
	for _, test := range tests {
		if got := verdictOf(test.ctx, test.err); got != test.want {
			t.Errorf("verdictOf(%v) = %d, want %d", test.err, got, test.want)
		}
	}
}
