package processors

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// laneLocks are a worker's locks on its lanes. A goroutine extends them at a
// third of their time to live; the Locker and its Locks are called one at a time.
type laneLocks struct {
	p       *NonOrdered
	locker  Locker
	without WithoutLocker
	prefix  string

	calls sync.Mutex // held around each call; taken before mu
	mu    sync.Mutex
	held  map[int]*laneLock

	start sync.Once
	stop  chan struct{}
	done  chan struct{}
}

// laneLock is one of them.
type laneLock struct {
	lock  Lock      // nil: the lane is kept without
	until time.Time // when it ends unless it is extended
}

func newLaneLocks(p *NonOrdered, locker Locker, without WithoutLocker, table string) *laneLocks {
	return &laneLocks{
		p: p, locker: locker, without: without, prefix: table + ":lane:",
		held: make(map[int]*laneLock), stop: make(chan struct{}), done: make(chan struct{}),
	}
}

// bounded gives a call to the Locker a part of the time that a lock lasts.
func (l *laneLocks) bounded(ctx context.Context, call func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.p.LeaseTTL/4)
	defer cancel()
	l.calls.Lock()
	defer l.calls.Unlock()
	return call(ctx)
}

// lock asks for the lanes and returns those that the Locker does not refuse.
func (l *laneLocks) lock(ctx context.Context, lanes []int) (granted []int) {
	l.start.Do(func() { go l.run(context.WithoutCancel(ctx)) })
	for i, lane := range lanes {
		l.beat(loopClaim)
		lock, err := l.ask(ctx, lane)
		switch {
		case err == nil:
			granted = append(granted, lane)
			l.note(lane, lock)
		case errors.Is(err, ErrLocked):
		case l.without == UseDatabase: // nor do the others need to be asked now
			l.p.trouble("locker", fmt.Errorf("lanes are taken without a lock: %w", err))
			for _, lane := range lanes[i:] {
				granted = append(granted, lane)
				l.note(lane, &laneLock{})
			}
			return granted
		default:
			l.p.trouble("locker", fmt.Errorf("no lane is taken without a lock: %w", err))
			return granted
		}
	}
	return granted
}

func (l *laneLocks) ask(ctx context.Context, lane int) (*laneLock, error) {
	var lock Lock
	sent := time.Now()
	err := l.bounded(ctx, func(ctx context.Context) (err error) {
		lock, err = l.locker.Lock(ctx, fmt.Sprint(l.prefix, lane), l.p.LeaseTTL)
		return err
	})
	return &laneLock{lock, sent.Add(l.p.LeaseTTL)}, err
}

// beat tells of a loop that calls the Locker next, once another call is over,
// or after a pause between extensions.
func (l *laneLocks) beat(loop string) { l.p.site.beat(loop, l.p.LeaseTTL+alive) }

func (l *laneLocks) note(lane int, lock *laneLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held[lane] = lock
}

// holds reports whether a lane may be kept.
func (l *laneLocks) holds(lane int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held[lane] != nil
}

// release gives locks back, though the work be cancelled. If the Locker can't
// be reached, they end by themselves.
func (l *laneLocks) release(ctx context.Context, lanes []int) {
	reachable := true
	for _, lane := range lanes {
		l.mu.Lock()
		held := l.held[lane]
		delete(l.held, lane)
		l.mu.Unlock()
		if held == nil || held.lock == nil || !reachable {
			continue
		}
		l.beat(loopClaim)
		if err := l.bounded(ctx, held.lock.Unlock); err != nil && !errors.Is(err, ErrLocked) {
			l.p.trouble("locker", fmt.Errorf("give back a lock: %w", err))
			reachable = false
		}
	}
}

func (l *laneLocks) releaseAll(ctx context.Context) { l.release(ctx, l.lanes()) }

func (l *laneLocks) lanes() []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.held))
}

// close ends the extension and gives everything back.
func (l *laneLocks) close(ctx context.Context) {
	close(l.stop)
	started := true
	l.start.Do(func() { started = false })
	if started {
		<-l.done
	}
	l.releaseAll(ctx)
}

// run extends the locks until close.
func (l *laneLocks) run(ctx context.Context) {
	defer close(l.done)
	l.beat(loopLocks)
	ticker := time.NewTicker(l.p.LeaseTTL / 3)
	defer ticker.Stop()
	for {
		select {
		case <-l.stop:
			l.p.site.beat(loopLocks, 0)
			return
		case <-ticker.C:
			l.extendAll(ctx)
			l.beat(loopLocks)
		}
	}
}

// extendAll extends what is held. A lock that is lost costs the worker its
// lease, which cancels all that runs. One that can't be extended does when its
// time is over, or the lane is kept without.
func (l *laneLocks) extendAll(ctx context.Context) {
	for _, lane := range l.lanes() {
		l.mu.Lock()
		held := l.held[lane]
		l.mu.Unlock()
		if held == nil {
			continue // given back in between
		}
		l.beat(loopLocks)
		err := l.extend(ctx, lane, held)
		switch {
		case err == nil:
		case errors.Is(err, ErrLocked) && held.lock == nil:
			l.mu.Lock()
			delete(l.held, lane) // another's: the lane is given up when nothing of it runs
			l.mu.Unlock()
		case errors.Is(err, ErrLocked), l.without != UseDatabase && !time.Now().Before(held.until):
			l.p.trouble("locker", fmt.Errorf("the lock on lane %d is lost, and the lease is given up: %w", lane, err))
			l.p.lose()
			return
		default: // it would be the same for the others
			l.p.trouble("locker", fmt.Errorf("the lock on lane %d is not extended: %w", lane, err))
			if l.without == UseDatabase {
				l.keep()
			}
			return
		}
	}
}

func (l *laneLocks) extend(ctx context.Context, lane int, held *laneLock) error {
	if held.lock == nil {
		lock, err := l.ask(ctx, lane)
		if err == nil {
			l.replace(lane, held, lock)
		}
		return err
	}
	sent := time.Now()
	err := l.bounded(ctx, func(ctx context.Context) error { return held.lock.Extend(ctx, l.p.LeaseTTL) })
	if err == nil {
		l.replace(lane, held, &laneLock{held.lock, sent.Add(l.p.LeaseTTL)})
	}
	return err
}

// replace notes a lock's new state, unless it was given back meanwhile.
func (l *laneLocks) replace(lane int, old, now *laneLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[lane] == old {
		l.held[lane] = now
	}
}

// keep goes on without locks that are not extended.
func (l *laneLocks) keep() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for lane, held := range l.held {
		if !time.Now().Before(held.until) {
			l.held[lane] = &laneLock{}
		}
	}
}
