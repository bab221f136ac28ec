package lockertest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gorm-aftercommit/aftercommit/processors"
)

const (
	long  = 5 * time.Minute        // no check lasts as long
	brief = 500 * time.Millisecond // a check waits until a lock of this is over
	call  = 5 * time.Second        // a single call of a Locker
)

// stage is what a check works with.
type stage struct {
	ctx        context.Context //nolint:containedctx // it is the check's argument
	one, other processors.Locker
}

// take takes a lock that must be free.
func (s *stage) take(l processors.Locker, name string, ttl time.Duration) (processors.Lock, error) {
	ctx, cancel := context.WithTimeout(s.ctx, call)
	defer cancel()
	lock, err := l.Lock(ctx, name, ttl)
	if err == nil && lock == nil {
		err = errors.New("neither a lock nor an error")
	}
	if err != nil {
		return nil, fmt.Errorf("lock of %q, which is free: %w", name, err)
	}
	return lock, nil
}

// refused returns an error unless a Locker refuses a lock.
func (s *stage) refused(l processors.Locker, name string) error {
	ctx, cancel := context.WithTimeout(s.ctx, call)
	defer cancel()
	lock, err := l.Lock(ctx, name, long)
	if err == nil {
		return fmt.Errorf("lock of %q was given", name)
	}
	if lock != nil {
		return fmt.Errorf("lock of %q: a lock with the error %w", name, err)
	}
	return lost(err)
}

// lost returns an error unless err says that a lock is lost.
func lost(err error) error {
	if !errors.Is(err, processors.ErrLocked) {
		return fmt.Errorf("the error is %w, want ErrLocked", orNil(err))
	}
	return nil
}

// unknown returns an error unless err says that a call does not know.
func unknown(err error) error {
	if err == nil || errors.Is(err, processors.ErrLocked) {
		return fmt.Errorf("the error is %w, want one that is not ErrLocked", orNil(err))
	}
	return nil
}

func orNil(err error) error {
	if err == nil {
		return errors.New("nil")
	}
	return err
}

func (s *stage) extend(lock processors.Lock, ttl time.Duration) error {
	ctx, cancel := context.WithTimeout(s.ctx, call)
	defer cancel()
	return lock.Extend(ctx, ttl)
}

func (s *stage) unlock(lock processors.Lock) error {
	ctx, cancel := context.WithTimeout(s.ctx, call)
	defer cancel()
	return lock.Unlock(ctx)
}

// eventually takes a lock as soon as it is over.
func (s *stage) eventually(l processors.Locker, name string) (processors.Lock, error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		lock, err := s.take(l, name, long)
		if err == nil {
			return lock, nil
		}
		select {
		case <-s.ctx.Done():
			return nil, fmt.Errorf("%q does not end: %w", name, err)
		case <-tick.C:
		}
	}
}

// outlast returns when locks of ttl that were taken or extended before the
// call are over: a later one of them is.
func (s *stage) outlast(ttl time.Duration) error {
	if _, err := s.take(s.one, "clock", ttl); err != nil {
		return err
	}
	clock, err := s.eventually(s.other, "clock")
	if err != nil {
		return err
	}
	return s.unlock(clock)
}

// over takes a lock that is over when over returns, and that nobody has taken
// since.
func (s *stage) over(name string) (processors.Lock, error) {
	lock, err := s.take(s.one, name, brief)
	if err != nil {
		return nil, err
	}
	return lock, s.outlast(brief)
}

// passed takes a lock that is over when passed returns, and that another holds
// since.
func (s *stage) passed(name string) (before, now processors.Lock, err error) {
	if before, err = s.over(name); err != nil {
		return nil, nil, err
	}
	now, err = s.take(s.other, name, long)
	return before, now, err
}
