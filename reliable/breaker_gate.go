package reliable

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// gate is the breaker of one callback or record processor in this process. A
// nil gate is always open to runs.
type gate struct {
	context, class, callback string
	epoch                    time.Time

	// word is the circuit's generation and, in the lowest bit, whether the
	// circuit must be asked. While nothing fails, it need not be: that costs an
	// atomic load per run and one per success.
	word atomic.Uint64

	mu      sync.Mutex
	circuit circuit
}

func newGate(context, class, callback string, b Breaker) *gate {
	if b.Off {
		return nil
	}
	return &gate{
		context: context, class: class, callback: callback, epoch: time.Now(),
		circuit: circuit{Breaker: b.withDefaults(), dice: rand.Float64},
	}
}

// pass is a gate's leave to run, to be settled when the run has ended.
type pass uint64

// enter asks whether a run may begin now. If not, wait says when to ask again.
func (g *gate) enter(retry bool) (p pass, wait time.Duration, ok bool) {
	if g == nil {
		return 0, 0, true
	}
	if word := g.word.Load(); word&1 == 0 {
		return pass(word >> 1), 0, true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	wait, ok = g.circuit.enter(time.Since(g.epoch), retry)
	g.note(true)
	return pass(g.circuit.generation), wait, ok
}

// settle takes in how a run ended. It returns the event if that opened or
// closed the breaker.
func (g *gate) settle(p pass, v verdict, err error) Event {
	if g == nil || v != failing && g.word.Load()&1 == 0 {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	c, now := &g.circuit, time.Since(g.epoch)
	turned := c.settle(now, uint64(p), v)
	g.note(v != answered || !c.calm(now))
	switch turned {
	case opens:
		return &BreakerOpened{
			Context: g.context, ResourceClass: g.class, Callback: g.callback,
			Trip: c.trips, Failed: c.failed, Attempts: c.attempts, Err: cleanErr(err), Rest: c.until - now,
		}
	case closes:
		return &BreakerClosed{Context: g.context, ResourceClass: g.class, Callback: g.callback, Took: now - c.openedAt}
	default:
		return nil
	}
}

// room returns how many runs may begin soon, below zero if there is no bound.
func (g *gate) room() int {
	if g == nil || g.word.Load()&1 == 0 {
		return -1
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.circuit.room(time.Since(g.epoch))
	g.note(true)
	return n
}

// note publishes what enter and settle look at without the lock.
func (g *gate) note(watched bool) {
	word := g.circuit.generation << 1
	if watched {
		word |= 1
	}
	if g.word.Load() != word {
		g.word.Store(word)
	}
}

// verdictOf reads a run's error as [Breaker] says.
func verdictOf(ctx context.Context, err error) verdict {
	if err == nil {
		return answered
	}
	var snooze *snoozeError
	var discard *discardError
	var permanent *permanentError
	switch {
	case errors.As(err, &discard):
		return answered
	case errors.Is(err, errNotDue), errors.As(err, &snooze), ctx.Err() != nil:
		return nothing
	case errors.As(err, &permanent):
		return answered
	default:
		return failing
	}
}

// gateOf returns the gate of a callback or a record processor, which key
// identifies.
func (p *Plugin) gateOf(key any, context, class, name string, own *Breaker) *gate {
	if known, ok := p.gates.Load(key); ok {
		return known.(*gate)
	}
	made := newGate(context, class, name, *cmp.Or(own, p.cfg.Breaker, new(Breaker)))
	known, _ := p.gates.LoadOrStore(key, made)
	return known.(*gate)
}
