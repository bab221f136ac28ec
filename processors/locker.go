package processors

import (
	"context"
	"errors"
	"time"
)

// ErrLocked is in the error of a [Locker] that knows: another holds the lock,
// or the lock that was held is lost. Any other error of a Locker means that it
// can't be known who holds it, as when the store of the locks does not answer.
var ErrLocked = errors.New("processors: held by another")

// Locker asks a store outside the database whether this process may work on
// something, before the database is asked. It spares workers from meeting at
// the database; it protects nothing.
//
// A Locker can only refuse. What its locks are for is fenced by the database
// as well, so that order and exclusiveness hold with a Locker that grants
// every lock to everyone, forgets them, or is wrong about the time. So an
// implementation need not be perfect, but when in doubt it should refuse: a
// lock that two hold at once costs the work of one of them.
//
// A processor calls its Locker, and the Locks that it got, one at a time, from
// any of its goroutines. A Locker that several processors share is called by as
// many at a time.
// Each call has a context with a deadline. It must return soon after its
// context ends, whatever the store does, and must not retry until then: the
// caller decides when to ask again.
//
// Package lockertest checks what is promised here.
type Locker interface {
	// Lock tries once to take the lock of a name, and does not wait for
	// another to give it back. The lock ends by itself when ttl has passed
	// without Extend, as after the death of its process. ttl is at least a
	// millisecond. A name is printable ASCII of at most 200 bytes. It does not
	// tell databases apart: the Lockers of workers on two databases that share
	// a store must, as by a prefix.
	//
	// An error with [ErrLocked] in it says that another holds the lock. After
	// every other error it can't be known whether the store has given it: the
	// caller does not hold it, and it may stay taken until ttl has passed.
	Lock(ctx context.Context, name string, ttl time.Duration) (Lock, error)
}

// Lock is a lock that was given. It is its caller's until ttl has passed since
// just before the call of Lock, or of the last Extend that returned nil.
type Lock interface {
	// Extend lets the lock end when ttl has passed from now on, if it is still
	// held. It never takes a lock that was lost, even if nobody has it.
	//
	// An error with [ErrLocked] in it says that the lock is lost: it was over,
	// the store forgot it, or another holds it. After every other error the
	// lock may be extended or not; Extend can be called again.
	Extend(ctx context.Context, ttl time.Duration) error

	// Unlock gives the lock back, unless another holds it by now: the lock of
	// another is never touched. Its context is not one that the end of the
	// work has canceled. ErrLocked says that there was nothing to give back.
	// After every other error the lock may stay taken until its ttl has
	// passed. A Lock is not used after Unlock, whatever that returned, but for
	// another Unlock.
	Unlock(ctx context.Context) error
}

// LockerFunc is a [Locker] that is a function.
type LockerFunc func(ctx context.Context, name string, ttl time.Duration) (Lock, error)

// Lock implements [Locker].
func (f LockerFunc) Lock(ctx context.Context, name string, ttl time.Duration) (Lock, error) {
	return f(ctx, name, ttl)
}
