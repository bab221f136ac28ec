package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// finishTimeout bounds one try to make a group durable.
const finishTimeout = 10 * time.Second

// stubborn is how long callbacks may ignore that their context is cancelled.
const stubborn = 2 * time.Second

// shift is one run of a worker.
type shift struct {
	*Worker
	work   context.Context // of callbacks; cancelled when the drain takes too long
	cancel context.CancelCauseFunc
	size   int // of the next batch, if it is adaptive
}

func newShift(w *Worker) *shift {
	s := &shift{Worker: w, size: 100}
	s.work, s.cancel = context.WithCancelCause(context.Background())
	return s
}

// run claims and works until ctx is done, then drains.
func (s *shift) run(ctx context.Context) (released int, err error) {
	defer s.cancel(nil)
	drained := context.AfterFunc(ctx, func() {
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
	wake, stop := s.plugin.Wakes()
	defer stop()
	failures := 0
	for ctx.Err() == nil {
		size := s.BatchSize
		if size == 0 {
			size = s.size
		}
		begun := time.Now()
		claim, err := s.Processor.Claim(ctx, size)
		switch {
		case err != nil && ctx.Err() != nil:
		case err != nil:
			failures++
			s.trouble("claim", err)
			s.pause(ctx, nil, min(100*time.Millisecond<<min(failures, 6), 5*time.Second))
		case claim == nil:
			failures = 0
			s.pause(ctx, wake, s.PollInterval*time.Duration(s.IdleMultiplier))
		default:
			failures = 0
			s.plugin.Monitor().Publish(&reliable.BatchClaimed{Worker: s.id, Token: claim.Token(), Entries: len(claim.Entries()), Took: time.Since(begun)})
			n, err := s.batch(ctx, claim)
			released += n
			if err != nil {
				return released, err
			}
			s.adapt(len(claim.Entries()), size, time.Since(begun))
		}
	}
	return released, nil
}

// adapt aims at batches that take a quarter of a second.
func (s *shift) adapt(n, asked int, took time.Duration) {
	if n < asked {
		return
	}
	if took < 250*time.Millisecond {
		s.size = min(s.size*2, MaxBatchSize)
	} else if took > 500*time.Millisecond {
		s.size = max(s.size/2, s.Threads, 1)
	}
}

// pause waits for d, give or take a tenth, a wake, or the end.
func (s *shift) pause(ctx context.Context, wake <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d - d/10 + rand.N(d/5+1))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-ctx.Done():
	}
}

// batch works on one claim and returns how many entries it gave back.
func (s *shift) batch(ctx context.Context, claim processors.Claim) (released int, err error) {
	work, cancel := context.WithCancelCause(s.work)
	defer cancel(nil)
	entries := claim.Entries()
	b := s.plugin.NewBatch(s.DB, entries, claim.Token(), claim.At())
	b.Timeout = s.CallbackTimeout
	g := newGroup(s, claim)
	over := make(chan struct{})
	go func() {
		select {
		case <-claim.Lost():
			cancel(reliable.ErrLeaseLost)
			g.lose()
		case <-over:
		}
	}()

	var mu sync.Mutex
	next := 0
	running := make(map[int64]*reliable.OutboxEntry)
	take := func(ended *reliable.OutboxEntry) *reliable.OutboxEntry {
		mu.Lock()
		defer mu.Unlock()
		if ended != nil {
			delete(running, ended.ID)
		}
		if next == len(entries) || ctx.Err() != nil || work.Err() != nil {
			return nil
		}
		e := entries[next]
		next++
		running[e.ID] = e
		return e
	}
	var executors sync.WaitGroup
	for range min(s.Threads, len(entries)) {
		executors.Go(func() {
			for e := take(nil); e != nil; e = take(e) {
				g.add(b.Process(work, e))
			}
		})
	}
	ended := make(chan struct{})
	go func() { executors.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-afterDone(s.work, stubborn, ended):
	}
	select {
	case <-ended:
	default:
		mu.Lock()
		left := len(running)
		mu.Unlock()
		g.end()
		close(over)
		return 0, fmt.Errorf("worker: %d callbacks ignore that their context is cancelled; end the process", left)
	}
	g.end()
	close(over)
	if rest := len(entries) - next; rest > 0 && !g.isLost() {
		if err := s.release(claim); err != nil {
			s.trouble("release", err)
		} else {
			released = rest
		}
	}
	return released, nil
}

// afterDone is closed d after ctx is done, unless ended is closed first.
func afterDone(ctx context.Context, d time.Duration, ended <-chan struct{}) <-chan struct{} {
	late := make(chan struct{})
	go func() {
		select {
		case <-ended:
			return
		case <-ctx.Done():
		}
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-ended:
		case <-timer.C:
			close(late)
		}
	}()
	return late
}

func (s *shift) release(claim processors.Claim) error {
	ctx, cancel := context.WithTimeout(context.Background(), finishTimeout)
	defer cancel()
	return claim.Release(ctx)
}

// finish makes a group durable. It tries until the outcome is known: done, or
// the lease lost.
func (s *shift) finish(claim processors.Claim, outcomes []reliable.Outcome) error {
	for attempt := 0; ; attempt++ {
		ctx, cancel := context.WithTimeout(context.Background(), finishTimeout)
		err := claim.Finish(ctx, outcomes)
		cancel()
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
