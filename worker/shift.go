package worker

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/gorm-aftercommit/aftercommit/healthcheck"
	"github.com/gorm-aftercommit/aftercommit/internal/failpoint"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

const (
	finishTimeout = 10 * time.Second // of one try to make a group durable
	stubborn      = 2 * time.Second  // how long callbacks may ignore that their context is cancelled
)

// shift is one run of a worker.
type shift struct {
	*Worker
	work     context.Context //nolint:containedctx // of callbacks; cancelled when the drain takes too long
	cancel   context.CancelCauseFunc
	board    *board
	queue    *queue
	reading  sync.WaitGroup // of models, ahead of their callbacks
	finisher *finisher
	freed    chan struct{} // what is behind an entry of its key may be claimed now
}

func newShift(w *Worker) *shift {
	s := &shift{Worker: w, board: w.state().board, queue: newQueue(w.Threads), freed: make(chan struct{}, 1)}
	s.work, s.cancel = context.WithCancelCause(context.Background())
	s.finisher = newFinisher(s)
	return s
}

// run claims and works until ctx is done, then drains. It returns how many
// entries it gave back.
func (s *shift) run(ctx context.Context) (released int, err error) {
	defer s.cancel(nil)
	s.board.watch(func() { s.queue.tick(); s.finisher.tick() })
	defer s.board.watch(nil)
	drained := context.AfterFunc(ctx, func() {
		s.board.enter(healthcheck.Draining)
		s.plugin.Monitor().Publish(&reliable.ShuttingDown{Worker: s.id, Cause: context.Cause(ctx), Timeout: s.ShutdownTimeout})
		timer := time.NewTimer(s.ShutdownTimeout)
		defer timer.Stop()
		select {
		case <-timer.C:
			s.cancel(reliable.ErrShutdown)
		case <-s.work.Done():
		}
	})
	defer drained()
	for n := range s.Threads {
		go (&executor{shift: s, slot: s.board.executor(n + 1)}).run()
	}
	s.claim(ctx)
	return s.drain() //nolint:contextcheck // ctx is done by now
}

// executor runs entries, one at a time, or a group.
type executor struct {
	shift *shift
	slot  *slot
	batch *batch          // whose entry it runs
	work  context.Context //nolint:containedctx // of that batch, with slot
	begun time.Time       // when that began
}

// run runs entries until the queue is closed. A callback that calls
// runtime.Goexit ends the goroutine: another takes its place.
func (x *executor) run() {
	ended := false
	defer func() {
		if !ended {
			go x.run()
		}
	}()
	report := x.report
	for {
		b, group := x.shift.queue.take(x.shift.FinishGroup, x.slot)
		if b == nil {
			ended = true
			x.shift.board.remove(x.slot.name)
			return
		}
		if x.batch != b {
			x.batch, x.work = b, watched{b.work, x.slot}
		}
		if len(group) > 1 {
			x.runGroup(group)
			continue
		}
		x.begun = time.Now()
		x.slot.busy("", x.shift.entryLimit())
		failpoint.Hit("callback.before")
		b.run.Process(x.work, group[0], report)
	}
}

// runGroup runs entries that go into one call of a BatchProcessor. Those beyond
// the first take the place of outcomes that are not durable, so that a crash
// costs no more with batches than without.
func (x *executor) runGroup(group []*reliable.OutboxEntry) {
	x.shift.finisher.reserve(len(group)-1, x.slot)
	x.begun = time.Now()
	x.slot.busy("", x.shift.entryLimit())
	failpoint.Hit("callback.before")
	outcomes := x.batch.run.ProcessGroup(x.work, group)
	failpoint.Hit("callback.after")
	x.shift.queue.done(x.batch, len(group), time.Since(x.begun))
	x.shift.finisher.addGroup(x.batch, outcomes, x.slot)
}

// report hands over what the entry came to.
func (x *executor) report(outcome reliable.Outcome) {
	failpoint.Hit("callback.after")
	x.shift.queue.done(x.batch, 1, time.Since(x.begun))
	x.shift.finisher.add(x.batch, outcome, x.slot)
}

// entryLimit is what an executor may take until it tells of its first attempt.
func (s *shift) entryLimit() time.Duration {
	return cmp.Or(s.CallbackTimeout, reliable.DefaultTimeout) + healthcheck.Margin
}

// claim feeds the executors until ctx is done.
func (s *shift) claim(ctx context.Context) {
	wake, stop := s.plugin.Wakes()
	defer stop()
	heard, hush := s.listen(ctx)
	defer hush()
	slot := s.board.slot(claimLoop)
	defer s.board.remove(claimLoop)
	rest := func(wake, heard, freed <-chan struct{}, d time.Duration) {
		slot.beat(2*d + healthcheck.Fresh)
		pause(ctx, wake, heard, freed, d)
	}
	failures := 0
	for {
		n := s.queue.wait(ctx, slot)
		if n == 0 {
			return
		}
		if s.BatchSize > 0 {
			n = s.BatchSize
		}
		begun := time.Now()
		slot.beat(stepLimit)
		claim, err := s.Processor.Claim(ctx, n)
		switch {
		case err != nil && ctx.Err() != nil:
		case err != nil:
			failures++
			s.trouble("claim", err)
			rest(nil, nil, nil, min(100*time.Millisecond<<min(failures, 6), 5*time.Second))
		case claim == nil:
			failures = 0
			rest(wake, heard, s.freed, s.PollInterval*time.Duration(s.IdleMultiplier))
		default:
			failures = 0
			s.plugin.Monitor().Publish(&reliable.BatchClaimed{Worker: s.id, Token: claim.Token(), Entries: len(claim.Entries()), Took: time.Since(begun)})
			s.begin(claim)
		}
	}
}

// begin hands a claim to the executors.
func (s *shift) begin(claim processors.Claim) {
	entries := claim.Entries()
	b := &batch{Claim: claim, entries: entries, owing: len(entries), open: len(entries), over: make(chan struct{})}
	b.run = s.plugin.NewBatch(s.DB, entries, claim.Token(), claim.At())
	b.run.Timeout, b.run.Finisher, b.run.NoBreaker = s.CallbackTimeout, claim, s.NoBreaker
	if policy := s.keyPolicy(); policy != "" {
		b.run.KeyPolicy = policy
		b.entries, b.chains = newChains(entries, policy)
	}
	work, cancel := context.WithCancelCause(s.work)
	b.work, b.cancel = leased{work, b}, cancel
	go func() {
		defer b.cancel(nil)
		select {
		case <-claim.Lost():
			s.finisher.lose(b)
		case <-b.over:
		case <-s.finisher.done:
		}
	}()
	s.reading.Go(func() { b.run.Prepare(b.work) })
	s.queue.put(b)
}

// drain lets running callbacks end, makes what they came to durable, and gives
// the rest back.
func (s *shift) drain() (released int, err error) {
	rest := s.queue.close()
	select {
	case <-s.queue.ended:
	case <-s.work.Done():
		timer := time.NewTimer(stubborn)
		defer timer.Stop()
		select {
		case <-s.queue.ended:
		case <-timer.C:
			err = fmt.Errorf("worker: %d callbacks ignore that their context is cancelled; end the process", s.queue.busy())
		}
	}
	s.cancel(reliable.ErrShutdown) // nobody needs what is still read
	s.reading.Wait()
	s.finisher.end()
	for _, b := range rest {
		if s.finisher.isLost(b) || s.queue.runs(b) {
			continue // another worker's; or a rescuer's, once this one is gone
		}
		if err := bounded(b.Release); err != nil {
			s.trouble("release", err)
			continue
		}
		released += s.queue.drop(b)
	}
	return released, err
}

// bounded runs a step of the finish with a context of its own.
func bounded(step func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), finishTimeout)
	defer cancel()
	return step(ctx)
}

// pause waits for d, give or take a tenth, a wake of this process or another,
// an entry that was finished before others of its key, or the end.
func pause(ctx context.Context, wake, heard, freed <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d - d/10 + rand.N(d/5+1))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-heard:
	case <-freed:
	case <-ctx.Done():
	}
}
