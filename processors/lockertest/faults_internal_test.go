package lockertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorm-aftercommit/aftercommit/processors"
)

// faulty is a LocalLocker with a fault: what is not nil is done instead.
type faulty struct {
	processors.LocalLocker
	lock   func(ctx context.Context, l *faulty, name string, ttl time.Duration) (processors.Lock, error)
	extend func(ctx context.Context, l *faultyLock, ttl time.Duration) error
	unlock func(ctx context.Context, l *faultyLock) error

	mu     sync.Mutex
	latest map[string]processors.Lock
}

type faultyLock struct {
	processors.Lock
	locker *faulty
	name   string
}

func (f *faulty) Lock(ctx context.Context, name string, ttl time.Duration) (processors.Lock, error) {
	var lock processors.Lock
	var err error
	if f.lock != nil {
		lock, err = f.lock(ctx, f, name, ttl)
	} else {
		lock, err = f.take(ctx, name, ttl)
	}
	if lock == nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.latest == nil {
		f.latest = make(map[string]processors.Lock)
	}
	f.latest[name] = lock
	return &faultyLock{lock, f, name}, err
}

func (f *faultyLock) Extend(ctx context.Context, ttl time.Duration) error {
	if f.locker.extend != nil {
		return f.locker.extend(ctx, f, ttl)
	}
	return f.Lock.Extend(ctx, ttl)
}

func (f *faultyLock) Unlock(ctx context.Context) error {
	if f.locker.unlock != nil {
		return f.locker.unlock(ctx, f)
	}
	return f.Lock.Unlock(ctx)
}

// holder returns the lock of whoever took the name last.
func (f *faultyLock) holder() processors.Lock {
	f.locker.mu.Lock()
	defer f.locker.mu.Unlock()
	return f.locker.latest[f.name]
}

// take is what a Locker without a fault does.
func (f *faulty) take(ctx context.Context, name string, ttl time.Duration) (processors.Lock, error) {
	return f.LocalLocker.Lock(ctx, name, ttl)
}

var errFault = errors.New("fault")

// faults returns, by the check that must find it, Lockers with a fault.
func faults() map[string][]*faulty {
	renamed := func(rename func(string) string) *faulty {
		return &faulty{lock: func(ctx context.Context, f *faulty, name string, ttl time.Duration) (processors.Lock, error) {
			return f.take(ctx, rename(name), ttl)
		}}
	}
	lasting := func(change func(time.Duration) time.Duration) *faulty {
		return &faulty{lock: func(ctx context.Context, f *faulty, name string, ttl time.Duration) (processors.Lock, error) {
			return f.take(ctx, name, change(ttl))
		}}
	}
	generous := func(ctx context.Context, _ *faulty, name string, ttl time.Duration) (processors.Lock, error) {
		return new(processors.LocalLocker).Lock(ctx, name, ttl)
	}
	extending := func(extend func(ctx context.Context, f *faultyLock, ttl time.Duration) error) *faulty {
		return &faulty{extend: extend}
	}
	unlocking := func(unlock func(ctx context.Context, f *faultyLock) error) *faulty { return &faulty{unlock: unlock} }
	alwaysExtended := extending(func(context.Context, *faultyLock, time.Duration) error { return nil })
	alwaysUnlocked := unlocking(func(ctx context.Context, f *faultyLock) error { _ = f.Lock.Unlock(ctx); return nil })
	return map[string][]*faulty{
		"one holder": {
			{lock: generous},
			{lock: func(ctx context.Context, f *faulty, name string, ttl time.Duration) (processors.Lock, error) {
				lock, err := f.take(ctx, name, ttl)
				if err != nil {
					return nil, errFault
				}
				return lock, nil
			}},
			{lock: func(ctx context.Context, f *faulty, name string, ttl time.Duration) (processors.Lock, error) {
				lock, err := f.take(ctx, name, ttl)
				if err != nil {
					lock, _ = generous(ctx, f, name, ttl)
				}
				return lock, err
			}},
		},
		"one of many": {{lock: generous}},
		"names": {
			renamed(strings.ToLower),
			renamed(strings.TrimSpace),
			renamed(func(name string) string { return name[:min(len(name), 100)] }),
			{lock: generous},
		},
		"unlock": {
			unlocking(func(context.Context, *faultyLock) error { return nil }),
			unlocking(func(context.Context, *faultyLock) error { return errFault }),
		},
		"unlock twice": {alwaysUnlocked, alwaysExtended},
		"end": {
			lasting(func(ttl time.Duration) time.Duration { return ttl * 1000 }),
			lasting(func(ttl time.Duration) time.Duration { return ttl / 2 }),
		},
		"extend": {
			alwaysExtended,
			extending(func(context.Context, *faultyLock, time.Duration) error { return errFault }),
			extending(func(context.Context, *faultyLock, time.Duration) error {
				return fmt.Errorf("at once: %w", processors.ErrLocked)
			}),
		},
		"shorten": {alwaysExtended},
		"extend what is over": {
			alwaysExtended,
			extending(func(ctx context.Context, f *faultyLock, ttl time.Duration) error {
				if err := f.Lock.Extend(ctx, ttl); err == nil {
					return nil
				}
				_, err := f.locker.take(ctx, f.name, ttl)
				return err
			}),
			extending(func(ctx context.Context, f *faultyLock, ttl time.Duration) error {
				err := f.Lock.Extend(ctx, ttl)
				_, _ = f.locker.take(ctx, f.name, ttl)
				return err
			}),
		},
		"extend another's": {
			extending(func(ctx context.Context, f *faultyLock, ttl time.Duration) error { return f.holder().Extend(ctx, ttl) }),
			extending(func(ctx context.Context, f *faultyLock, ttl time.Duration) error {
				_ = f.holder().Extend(ctx, ttl)
				return f.Lock.Extend(ctx, ttl)
			}),
		},
		"unlock another's": {
			unlocking(func(ctx context.Context, f *faultyLock) error { return f.holder().Unlock(ctx) }),
			unlocking(func(ctx context.Context, f *faultyLock) error {
				err := f.Lock.Unlock(ctx)
				_ = f.holder().Unlock(ctx)
				return err
			}),
			alwaysUnlocked,
		},
		"ended context": {
			{lock: func(ctx context.Context, f *faulty, name string, ttl time.Duration) (processors.Lock, error) {
				return f.take(context.WithoutCancel(ctx), name, ttl)
			}},
			{lock: func(ctx context.Context, f *faulty, name string, ttl time.Duration) (processors.Lock, error) {
				if ctx.Err() != nil {
					return nil, processors.ErrLocked
				}
				return f.take(ctx, name, ttl)
			}},
			extending(func(ctx context.Context, f *faultyLock, ttl time.Duration) error {
				return f.Lock.Extend(context.WithoutCancel(ctx), ttl)
			}),
			extending(func(ctx context.Context, f *faultyLock, ttl time.Duration) error {
				_ = f.Lock.Extend(context.WithoutCancel(ctx), ttl)
				return ctx.Err()
			}),
			unlocking(func(ctx context.Context, f *faultyLock) error { return f.Lock.Unlock(context.WithoutCancel(ctx)) }),
			unlocking(func(ctx context.Context, f *faultyLock) error {
				_ = f.Lock.Unlock(context.WithoutCancel(ctx))
				return ctx.Err()
			}),
		},
	}
}

// Each check finds what it is there for.
func TestFaultsAreFound(t *testing.T) {
	all := faults()
	for _, c := range checks() {
		if len(all[c.name]) == 0 {
			t.Errorf("check %q: nothing shows that it finds a fault", c.name)
		}
		for i, bad := range all[c.name] {
			t.Run(c.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					err := c.against(t, func(testing.TB) (one, other processors.Locker) { return bad, bad }, patience)
					if err == nil {
						t.Errorf("fault %d: check %q found nothing", i+1, c.name)
					}
				})
			})
		}
	}
}
