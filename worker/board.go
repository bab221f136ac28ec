package worker

import (
	"context"
	"crypto/rand"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorm-aftercommit/aftercommit/healthcheck"
)

const (
	stepLimit  = time.Minute // of what a loop does between two signs of life
	claimLoop  = "claim"     // as processors call it
	finishLoop = "finish"
	startLoop  = "start"
	keepLoop   = "processor" // its Run
)

// board is what a worker knows of its threads: a slot for each of them and for
// each loop. It reads no clock but the monotonic one.
type board struct {
	mu      sync.Mutex
	id      string
	phase   healthcheck.Phase
	slots   []*slot
	tick    func() // makes threads that wait show themselves; nil while there are none
	changed chan struct{}
}

// newBoard returns the board of a worker that may take limit to start.
func newBoard(limit time.Duration) *board {
	b := &board{id: strings.ToLower(rand.Text()[:10]), phase: healthcheck.Starting, changed: make(chan struct{}, 1)}
	b.slot(startLoop).busy("", limit)
	return b
}

// slot returns the slot of that name, a new one if there is none.
func (b *board) slot(name string) *slot {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.IndexFunc(b.slots, func(s *slot) bool { return s.name == name }); i >= 0 {
		return b.slots[i]
	}
	return b.add(name)
}

// executor returns a new slot for an executor.
func (b *board) executor(n int) *slot {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.add("executor " + strconv.Itoa(n))
}

func (b *board) add(name string) *slot {
	s := &slot{name: name}
	s.idle()
	b.slots = append(b.slots, s)
	return s
}

// remove takes out the slot of what has ended.
func (b *board) remove(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.slots = slices.DeleteFunc(b.slots, func(s *slot) bool { return s.name == name })
}

// starting reports whether the worker has not started yet.
func (b *board) starting() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.phase == healthcheck.Starting
}

// beat is [processors.Site.Beat].
func (b *board) beat(loop string, within time.Duration) {
	if within <= 0 {
		b.remove(loop)
		return
	}
	b.slot(loop).beat(within)
}

// enter notes a phase, and wakes who waits for one.
func (b *board) enter(phase healthcheck.Phase) {
	b.mu.Lock()
	b.phase = phase
	b.mu.Unlock()
	if phase != healthcheck.Starting {
		b.remove(startLoop)
	}
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// end notes that Run has returned.
func (b *board) end() {
	b.mu.Lock()
	b.slots, b.tick = nil, nil
	b.mu.Unlock()
	b.enter(healthcheck.Ended)
}

// watch sets what makes threads that wait show themselves.
func (b *board) watch(tick func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tick = tick
}

// show makes threads that wait show themselves.
func (b *board) show() {
	b.mu.Lock()
	tick := b.tick
	b.mu.Unlock()
	if tick != nil {
		tick()
	}
}

// report returns the present state.
func (b *board) report() *healthcheck.Report {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	r := &healthcheck.Report{ID: b.id, Written: now.Round(0), Phase: b.phase, Threads: make([]healthcheck.Thread, len(b.slots))}
	for i, s := range b.slots {
		r.Threads[i] = s.at(now)
	}
	return r
}

// slot is where one thread shows what it does.
type slot struct {
	name string

	mu       sync.Mutex
	state    healthcheck.State
	work     string
	since    time.Time
	deadline time.Time
}

func (s *slot) set(state healthcheck.State, work string, limit time.Duration) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != state || s.work != work {
		s.state, s.work, s.since = state, work, now
	}
	s.deadline = now.Add(limit)
}

// idle shows that the thread lives and has nothing to do.
func (s *slot) idle() { s.set(healthcheck.Idle, "", healthcheck.Fresh) }

// waits shows that the thread lives and waits for the database.
func (s *slot) waits() { s.set(healthcheck.Waiting, "", healthcheck.Fresh) }

// busy shows that the thread works, for at most limit.
func (s *slot) busy(work string, limit time.Duration) { s.set(healthcheck.Busy, work, limit) }

// beat shows that a loop lives, and will show itself again within limit.
func (s *slot) beat(limit time.Duration) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.since, s.deadline = healthcheck.Beating, now, now.Add(limit)
}

// at returns what the thread does, by the wall clock at now.
func (s *slot) at(now time.Time) healthcheck.Thread {
	s.mu.Lock()
	defer s.mu.Unlock()
	wall := now.Round(0)
	return healthcheck.Thread{Name: s.name, State: s.state, Work: s.work, Since: wall.Add(s.since.Sub(now)), Deadline: wall.Add(s.deadline.Sub(now))}
}

// watched is the context of an executor's callbacks, by which its slot learns
// of each attempt.
type watched struct {
	context.Context //nolint:containedctx // it is one
	slot            *slot
}

// Attempting implements [reliable.Progress].
func (w watched) Attempting(callback string, limit time.Duration) {
	w.slot.busy(callback, limit+healthcheck.Margin)
}
