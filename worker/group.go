package worker

import (
	"errors"
	"sync"
	"time"

	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// group gathers the outcomes of one claim and makes them durable together.
type group struct {
	shift *shift
	claim processors.Claim

	mu      sync.Mutex
	space   *sync.Cond // fewer than two groups wait
	waiting []reliable.Outcome
	flying  int // outcomes on their way to the database
	lost    bool
	closed  bool
	settled int // outcomes that are durable

	kick chan struct{} // a full group, or the end
	done chan struct{}
}

func newGroup(s *shift, claim processors.Claim) *group {
	g := &group{shift: s, claim: claim, kick: make(chan struct{}, 1), done: make(chan struct{})}
	g.space = sync.NewCond(&g.mu)
	go g.run()
	return g
}

// add hands an outcome over. It waits while two groups are not durable.
func (g *group) add(o reliable.Outcome) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = append(g.waiting, o)
	if n := len(g.waiting); n == 1 || n >= g.shift.FinishGroup {
		g.wake()
	}
	for len(g.waiting)+g.flying >= 2*g.shift.FinishGroup && !g.lost {
		g.space.Wait()
	}
}

func (g *group) wake() {
	select {
	case g.kick <- struct{}{}:
	default:
	}
}

// run writes a group when it is full, old enough, or the last.
func (g *group) run() {
	defer close(g.done)
	for range g.kick {
		g.mu.Lock()
		full := len(g.waiting) >= g.shift.FinishGroup || g.closed
		g.mu.Unlock()
		if !full {
			g.linger()
		}
		if g.flush() {
			return
		}
	}
}

// linger lets a group grow for FinishDelay.
func (g *group) linger() {
	timer := time.NewTimer(g.shift.FinishDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-g.kick:
	}
}

// flush makes what waits durable, then tells the monitor. It reports the end.
func (g *group) flush() (last bool) {
	g.mu.Lock()
	outcomes := g.waiting
	g.waiting, g.flying = nil, len(outcomes)
	lost := g.lost
	g.mu.Unlock()
	if len(outcomes) > 0 && !lost {
		if err := g.shift.finish(g.claim, outcomes); errors.Is(err, reliable.ErrLeaseLost) {
			g.lose()
		} else {
			g.publish(outcomes)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.flying = 0
	g.settled += len(outcomes)
	g.space.Broadcast()
	if len(g.waiting) > 0 {
		g.wake()
		return false
	}
	return g.closed
}

func (g *group) publish(outcomes []reliable.Outcome) {
	monitor := g.shift.plugin.Monitor()
	if !monitor.Active() {
		return
	}
	for i := range outcomes {
		for _, e := range outcomes[i].Events() {
			monitor.Publish(e)
		}
	}
}

// lose gives up what is not durable: another worker runs it.
func (g *group) lose() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.lost {
		return
	}
	g.lost = true
	g.space.Broadcast()
	g.shift.plugin.Monitor().Publish(&reliable.LeaseLost{
		Worker: g.shift.id, Token: g.claim.Token(), Entries: len(g.claim.Entries()) - g.settled,
	})
}

func (g *group) isLost() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lost
}

// end writes what waits and ends the goroutine.
func (g *group) end() {
	g.mu.Lock()
	g.closed = true
	g.wake()
	g.mu.Unlock()
	<-g.done
}
