package processors

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// LocalLocker is a [Locker] for the workers of one process, which share it,
// and for tests. It knows nothing of other processes. Its locks end as Redis's
// do, by this process's monotonic clock. It always knows: the only errors are
// [ErrLocked] and those of a context that has ended. The zero value is ready;
// it must not be copied after its first use.
type LocalLocker struct {
	mu    sync.Mutex
	locks map[string]*localLock // by name; those that are over stay until the next of their name
}

// localLock is a lock that a LocalLocker gave.
type localLock struct {
	locker *LocalLocker
	name   string
	until  time.Time // guarded by locker.mu
}

// Lock implements [Locker].
func (l *LocalLocker) Lock(ctx context.Context, name string, ttl time.Duration) (Lock, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("lock %q: %w", name, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if held := l.locks[name]; held != nil && now.Before(held.until) {
		return nil, fmt.Errorf("lock %q: %w", name, ErrLocked)
	}
	if l.locks == nil {
		l.locks = make(map[string]*localLock)
	}
	lock := &localLock{locker: l, name: name, until: now.Add(ttl)}
	l.locks[name] = lock
	return lock, nil
}

// Extend implements [Lock].
func (l *localLock) Extend(ctx context.Context, ttl time.Duration) error {
	return l.change(ctx, "extend", func(now time.Time) { l.until = now.Add(ttl) })
}

// Unlock implements [Lock].
func (l *localLock) Unlock(ctx context.Context) error {
	return l.change(ctx, "unlock", func(time.Time) { delete(l.locker.locks, l.name) })
}

// change does something to the lock if it is still held.
func (l *localLock) change(ctx context.Context, what string, do func(now time.Time)) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s %q: %w", what, l.name, err)
	}
	l.locker.mu.Lock()
	defer l.locker.mu.Unlock()
	now := time.Now()
	if l.locker.locks[l.name] != l || !now.Before(l.until) {
		return fmt.Errorf("%s %q: %w", what, l.name, ErrLocked)
	}
	do(now)
	return nil
}
