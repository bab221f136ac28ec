// Package lockertest checks that an implementation of [processors.Locker]
// keeps what the interface promises: a lock has one holder, ends by itself,
// and is not touched by whom it has left.
//
//	func TestMine(t *testing.T) {
//		lockertest.Run(t, func(t testing.TB) (one, other processors.Locker) {
//			store := newStore(t)
//			return mine.New(store), mine.New(store)
//		})
//	}
package lockertest

import (
	"context"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/processors"
)

// Open returns two Lockers on one store without locks, as two processes have
// them. A Locker that works within a process only is both. The store lives as
// long as t.
type Open func(t testing.TB) (one, other processors.Locker)

// patience is how long a check waits for what must happen.
const patience = time.Minute

// Run runs every check as a subtest, in parallel, since most of the time they
// wait for locks to end.
func Run(t *testing.T, open Open) {
	for _, c := range checks() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if err := c.against(t, open, patience); err != nil {
				t.Errorf("%s: %v", c.promise, err)
			}
		})
	}
}

// check is one promise of the interface.
type check struct {
	name    string
	promise string
	run     func(s *stage) error
}

// against runs the check on Lockers of its own.
func (c check) against(t testing.TB, open Open, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	one, other := open(t)
	return c.run(&stage{ctx: ctx, one: one, other: other})
}

func checks() []check {
	return []check{
		{"one holder", "a lock that is held is refused, with ErrLocked, to others and to its holder", oneHolder},
		{"one of many", "of many that ask for a lock at a time, one at most gets it", oneOfMany},
		{"names", "locks of different names have nothing to do with each other", names},
		{"unlock", "a lock that was given back can be taken", unlock},
		{"unlock twice", "a lock that was given back is lost to who had it, with ErrLocked", unlockTwice},
		{"end", "a lock that is not extended ends by itself, and not before its time", end},
		{"extend", "a lock that is extended is held until its new end", extend},
		{"shorten", "an extension may end a lock earlier than it would have", shorten},
		{"extend what is over", "a lock that is over is not extended, with ErrLocked, and not taken again", extendOver},
		{"extend another's", "the lock of another is not extended, with ErrLocked", extendAnothers},
		{"unlock another's", "the lock of another is not given back, with ErrLocked", unlockAnothers},
		{"ended context", "after the end of its context a call says that it does not know, and a lock stays as it is", endedContext},
	}
}
