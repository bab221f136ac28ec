package reliable

import (
	"container/heap"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// When most runs fail, those after the first of an entry are held to their
// share of all; a callback of which most runs succeed is not slowed.
func TestCircuitBudgetsRetries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCircuit(Breaker{
			FailureRatio: 1, MinAttempts: 1 << 30, // it never opens
			RetryShare: rapid.Float64Range(0.01, 0.5).Draw(t, "share"), RetryFloor: rapid.Float64Range(0.1, 20).Draw(t, "floor"),
		})
		bad := rapid.IntRange(0, 10).Draw(t, "bad runs in ten")
		pace := time.Duration(rapid.IntRange(1, 200).Draw(t, "ms")) * time.Millisecond
		var again []time.Duration // when retries began
		now := time.Duration(0)
		for range 2000 {
			now += pace
			retry := rapid.Bool().Draw(t, "retry")
			attempts, failed, _ := c.sum(now)
			before := 0
			for _, at := range again {
				if at/second >= now/second-9 { // the window's parts are seconds
					before++
				}
			}
			wait, ok := c.enter(now, retry)
			switch budget := max(c.RetryShare*float64(attempts), c.RetryFloor*c.Window.Seconds()); {
			case !ok && (!retry || 2*failed <= attempts):
				t.Fatalf("at %s: refused, though %d of %d failed, retry %v", now, failed, attempts, retry)
			case !ok && (wait <= 0 || wait > minute):
				t.Fatalf("at %s: refused for %s", now, wait)
			case ok && retry && 2*failed > attempts && float64(before) >= budget:
				t.Fatalf("at %s: a retry beyond the %d of %d runs, of which %d failed", now, before, attempts, failed)
			}
			v := answered
			if rapid.IntRange(0, 9).Draw(t, "dice") < bad {
				v = failing
			}
			if ok {
				c.settle(now, c.generation, v)
			}
			if ok && retry {
				again = append(again, now)
			}
		}
	})
}

// Retries beyond the budget come back one by one, at its pace.
func TestCircuitSpreadsRetries(t *testing.T) {
	c := newCircuit(Breaker{FailureRatio: 1, MinAttempts: 1 << 30, RetryFloor: 2})
	script(c, 0, 0, "xxxx")
	for range 20 {
		if _, ok := c.enter(0, true); !ok {
			t.Fatal("a retry within the budget is refused")
		}
	}
	for i := range 200 {
		wait, ok := c.enter(0, true)
		if want := min(time.Duration(i+1)*second/2, minute); ok || wait != want {
			t.Fatalf("retry %d beyond the budget: %s, %v, want %s", i+1, wait, ok, want)
		}
	}
}

// waiting is the entries that wait for a time, the earliest first.
type waiting []entry

type entry struct {
	due      time.Time
	attempts int
}

func (w waiting) Len() int           { return len(w) }
func (w waiting) Less(i, j int) bool { return w[i].due.Before(w[j].due) }
func (w waiting) Swap(i, j int)      { w[i], w[j] = w[j], w[i] }
func (w *waiting) Push(x any)        { *w = append(*w, x.(entry)) }
func (w *waiting) Pop() (last any) {
	last, *w = (*w)[len(*w)-1], (*w)[:len(*w)-1]
	return last
}

// A hundred thousand entries wait while what they call is down for ten minutes, then
// up: a gate lets few calls through, in all of that time, and then everything.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const entries, outage, tick = 100_000, 10 * time.Minute, 10 * time.Millisecond
		g := newGate("gorm", "Order", "mail", Breaker{})
		dice := rand.New(rand.NewPCG(1, 2))
		g.circuit.dice = dice.Float64
		backoff := Exponential(DefaultBackoffBase, DefaultBackoffCap)
		queue := make(waiting, entries)
		began := time.Now()
		for i := range queue {
			queue[i].due = began
		}
		var calls, failures, done, puts, most int
		perSecond := make(map[int]int)
		for len(queue) > 0 {
			if time.Since(began) > outage+10*time.Minute {
				t.Fatalf("%d entries are not done ten minutes after the end of the outage", len(queue))
			}
			room := g.room()
			for n := 0; len(queue) > 0 && !queue[0].due.After(time.Now()) && (room < 0 && n < 100 || n < room); n++ { // 10,000 per second at most
				e := heap.Pop(&queue).(entry)
				pass, wait, ok := g.enter(e.attempts > 0)
				if !ok {
					puts++
					heap.Push(&queue, entry{time.Now().Add(wait), e.attempts})
					continue
				}
				calls++
				perSecond[int(time.Since(began)/time.Second)]++
				if time.Since(began) < outage {
					failures++
					g.settle(pass, failing, nil)
					heap.Push(&queue, entry{time.Now().Add(backoff(e.attempts + 1)), e.attempts + 1})
					most = max(most, e.attempts+1)
					continue
				}
				g.settle(pass, answered, nil)
				done++
			}
			time.Sleep(tick) //nolint:forbidigo // virtual time
		}
		for second, n := range perSecond {
			if second > 0 && second < int(outage/time.Second) && n > 3 {
				t.Errorf("%d calls in second %d of the outage, want at most 3", n, second)
			}
		}
		// 20 until it opens; then three probes after 5, 10, 20, 40 s, and each minute.
		if failures > 20+3*15 || failures != calls-done || done != entries {
			t.Errorf("%d calls, %d failed, %d done; want at most 65 failures", calls, failures, done)
		}
		if took := time.Since(began) - outage; took > 2*time.Minute {
			t.Errorf("drained %s after the outage, want at most two minutes: a rest, the slow start, ten seconds of work", took)
		}
		if puts > entries/100 || most > 3 {
			t.Errorf("%d times an entry was put off, one burnt %d attempts; want almost none", puts, most)
		}
		t.Logf("%d calls failed, at most %d of one entry; %d put off; drained %s after the outage", failures, most, puts, time.Since(began)-outage)
	})
}

// A run of a callback that does not fail takes nothing.
func TestCalmGateAllocatesNothing(t *testing.T) {
	g := newGate("gorm", "Order", "mail", Breaker{})
	if n := testing.AllocsPerRun(100, func() {
		pass, _, _ := g.enter(false)
		g.settle(pass, answered, nil)
	}); n != 0 {
		t.Errorf("%v allocations per run, want 0", n)
	}
}

func BenchmarkGate(b *testing.B) {
	for _, state := range []string{"calm", "watched"} {
		b.Run(state, func(b *testing.B) {
			g := newGate("gorm", "Order", "mail", Breaker{Window: time.Hour})
			if state == "watched" {
				g.settle(0, failing, nil)
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					pass, _, _ := g.enter(false)
					g.settle(pass, answered, nil)
				}
			})
		})
	}
}
