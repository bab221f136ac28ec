package redislock

import (
	"context"
	"time"

	"github.com/go-redsync/redsync/v4"
)

// lock is a key in Redis, or in a majority of nodes.
type lock struct {
	locker *Locker
	name   string
	value  string // nobody else's
}

// Extend implements [processors.Lock]. It never sets a key that is gone: one
// node after the other would forget it, and it would be held by two.
func (k *lock) Extend(ctx context.Context, ttl time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, k.locker.wait(ctx, ttl, 1))
	defer cancel()
	m := k.locker.mutex(k.name, ttl, redsync.WithValue(k.value))
	if _, err := m.ExtendContext(ctx); err != nil {
		return k.locker.refusal("extend", k.name, err)
	}
	k.locker.settled(true)
	return nil
}

// Unlock implements [processors.Lock].
func (k *lock) Unlock(ctx context.Context) error {
	const whatever = time.Hour // a lock that is given back lasts no longer
	ctx, cancel := context.WithTimeout(ctx, k.locker.wait(ctx, whatever, 1))
	defer cancel()
	if ok, err := k.locker.mutex(k.name, whatever, redsync.WithValue(k.value)).UnlockContext(ctx); !ok {
		return k.locker.refusal("unlock", k.name, err)
	}
	k.locker.settled(true)
	return nil
}
