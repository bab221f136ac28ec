package worker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/gorm-aftercommit/aftercommit/healthcheck"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// finisher gathers outcomes and makes them durable together.
type finisher struct {
	shift *shift
	slot  *slot

	mu      sync.Mutex
	space   *sync.Cond // fewer than two groups wait
	batches []*batch   // with outcomes that wait
	waiting int        // such outcomes
	flying  int        // outcomes on their way to the database
	running int        // entries that run beyond the first of each executor
	closed  bool
	spare   [][]reliable.Outcome // empty, for what comes to wait

	kick chan struct{} // something to write, a full group, a whole claim, or the end
	done chan struct{}
}

func newFinisher(s *shift) *finisher {
	f := &finisher{shift: s, slot: s.board.slot(finishLoop), kick: make(chan struct{}, 1), done: make(chan struct{})}
	f.space = sync.NewCond(&f.mu)
	go f.run()
	return f
}

// add hands an outcome over. It waits while two groups are not durable.
func (f *finisher) add(b *batch, o reliable.Outcome, slot *slot) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.take(b, o)
	if b.chains != nil {
		f.follow(b, &o)
	}
	f.await(0, slot)
}

// addGroup is add for entries that ran together, after reserve.
func (f *finisher) addGroup(b *batch, outcomes []reliable.Outcome, slot *slot) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running -= len(outcomes) - 1
	for i := range outcomes {
		f.take(b, outcomes[i])
		if b.chains != nil {
			f.follow(b, &outcomes[i])
		}
	}
	f.await(0, slot)
}

// reserve waits until n entries more may run: until they and what is not
// durable are less than two groups.
func (f *finisher) reserve(n int, slot *slot) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.await(n, slot)
	f.running += n
}

// await waits until there is room for n more, and for another outcome.
func (f *finisher) await(n int, slot *slot) {
	for f.waiting+f.flying+f.running+n >= 2*f.shift.FinishGroup && !f.closed {
		slot.waits()
		f.space.Wait()
	}
}

func (f *finisher) take(b *batch, o reliable.Outcome) {
	if f.closed {
		return // of a callback that was left behind
	}
	if len(b.waiting) == 0 {
		f.batches = append(f.batches, b)
		b.waiting = f.slice(b.owing)
	}
	b.waiting = append(b.waiting, o)
	f.waiting++
	b.owing--
	if f.waiting == 1 || f.full(b) {
		f.wake()
	}
}

// follow lets go on, or gives back, what is held back behind an entry. Its
// outcome was taken before: nothing of what follows is written any earlier.
func (f *finisher) follow(b *batch, o *reliable.Outcome) {
	if f.closed {
		return
	}
	released, waits := f.shift.queue.follow(b, o)
	for _, e := range released {
		f.take(b, reliable.Outcome{Entry: e, State: reliable.StateReleased})
	}
	if waits {
		b.urgent = true
		f.wake()
	}
}

// slice returns an empty slice for up to n outcomes: one that was written
// already, or a new one.
func (f *finisher) slice(n int) []reliable.Outcome {
	if last := len(f.spare) - 1; last >= 0 {
		s := f.spare[last]
		f.spare = f.spare[:last]
		return s
	}
	return make([]reliable.Outcome, 0, min(n, f.shift.FinishGroup))
}

// full reports whether what waits should not wait any longer: there is a whole
// group, or all of b, or some of b waits for it.
func (f *finisher) full(b *batch) bool {
	return f.waiting >= f.shift.FinishGroup || b.owing == 0 || b.urgent
}

func (f *finisher) wake() {
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

// run writes what waits when there is enough of it, or after FinishDelay.
func (f *finisher) run() {
	defer close(f.done)
	for range f.kick {
		f.slot.beat(healthcheck.Fresh)
		if f.lingers() {
			timer := time.NewTimer(f.shift.FinishDelay)
			select {
			case <-timer.C:
			case <-f.kick:
				timer.Stop()
			}
		}
		if f.flush() {
			f.shift.board.remove(finishLoop) // not deferred: one that ends otherwise is missed
			return
		}
	}
}

// tick makes those who wait show that they live.
func (f *finisher) tick() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.space.Broadcast()
	f.wake()
}

// lingers reports whether a group should grow before it is written.
func (f *finisher) lingers() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.closed && f.waiting > 0 && !slices.ContainsFunc(f.batches, f.full)
}

// flush makes what waits durable, claim by claim. It reports the end.
func (f *finisher) flush() (last bool) {
	f.mu.Lock()
	batches := f.batches
	f.batches, f.waiting, f.flying = nil, 0, f.waiting
	outcomes := make([][]reliable.Outcome, len(batches))
	for i, b := range batches {
		outcomes[i], b.waiting = b.waiting, nil
		b.urgent = false
	}
	f.mu.Unlock()
	for i, b := range batches {
		f.write(b, outcomes[i])
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flying = 0
	for _, s := range outcomes {
		clear(s)
		f.spare = append(f.spare, s[:0])
	}
	f.spare = f.spare[:min(len(f.spare), 4)]
	f.space.Broadcast()
	if f.waiting > 0 {
		f.wake()
		return false
	}
	return f.closed
}

// write makes outcomes of one claim durable, then tells the monitor. If the
// lease is lost, another worker runs the entries again.
func (f *finisher) write(b *batch, outcomes []reliable.Outcome) {
	if !f.isLost(b) {
		if err := f.shift.finish(b, outcomes); errors.Is(err, reliable.ErrLeaseLost) {
			f.lose(b)
		} else {
			f.publish(outcomes)
			if b.chains != nil {
				f.shift.queue.durable(b, outcomes)
			}
			if b.run.KeyPolicy != "" {
				select {
				case f.shift.freed <- struct{}{}:
				default:
				}
			}
		}
	}
	f.settle(b, len(outcomes))
}

func (f *finisher) publish(outcomes []reliable.Outcome) {
	monitor := f.shift.plugin.Monitor()
	if !monitor.Active() {
		return
	}
	for i := range outcomes {
		for _, e := range outcomes[i].Events() {
			monitor.Publish(e)
		}
	}
}

// settle notes that n entries of b need nothing more.
func (f *finisher) settle(b *batch, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if b.open -= n; b.open == 0 && n > 0 {
		close(b.over)
	}
}

// lose gives up what is not durable of b.
func (f *finisher) lose(b *batch) {
	b.cancel(reliable.ErrLeaseLost)
	dropped := f.shift.queue.drop(b)
	f.mu.Lock()
	first, open := !b.lost, b.open
	b.lost = true
	b.owing -= dropped
	f.mu.Unlock()
	if first {
		f.shift.plugin.Monitor().Publish(&reliable.LeaseLost{Worker: f.shift.id, Token: b.Token(), Entries: open})
	}
	f.settle(b, dropped)
}

func (f *finisher) isLost(b *batch) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return b.lost
}

// end writes what waits and ends the goroutine.
func (f *finisher) end() {
	f.mu.Lock()
	f.closed = true
	f.space.Broadcast()
	f.wake()
	f.mu.Unlock()
	<-f.done
}

// finish makes outcomes durable. It tries until it is known what became of
// them: written, or the lease lost.
func (s *shift) finish(claim processors.Claim, outcomes []reliable.Outcome) error {
	for attempt := 0; ; attempt++ {
		s.finisher.slot.beat(stepLimit)
		err := bounded(func(ctx context.Context) error { return claim.Finish(ctx, outcomes) })
		if err == nil || errors.Is(err, reliable.ErrLeaseLost) {
			return err
		}
		s.trouble("finish", err)
		timer := time.NewTimer(min(10*time.Millisecond<<min(attempt, 8), time.Second))
		select {
		case <-timer.C:
		case <-claim.Lost():
			timer.Stop()
			return reliable.ErrLeaseLost
		}
	}
}
