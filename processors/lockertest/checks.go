package lockertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorm-aftercommit/aftercommit/processors"
)

func oneHolder(s *stage) error {
	if _, err := s.take(s.one, "a", long); err != nil {
		return err
	}
	return errors.Join(s.refused(s.other, "a"), s.refused(s.one, "a"))
}

func oneOfMany(s *stage) error {
	for round := range 20 {
		name := fmt.Sprint("many ", round)
		var given atomic.Int32
		var asking sync.WaitGroup
		start := make(chan struct{})
		for _, l := range []processors.Locker{s.one, s.other, s.one, s.other} {
			asking.Go(func() {
				ctx, cancel := context.WithTimeout(s.ctx, call)
				defer cancel()
				<-start
				if _, err := l.Lock(ctx, name, long); err == nil {
					given.Add(1)
				}
			})
		}
		close(start)
		asking.Wait()
		if n := given.Load(); n > 1 { // none is right: they may have split the nodes of a quorum
			return fmt.Errorf("%d got it", n)
		}
	}
	return nil
}

func names(s *stage) error {
	widest := strings.Repeat("n", 199)
	var locks []processors.Lock
	for _, name := range []string{"a", "A", "a ", "aa", "a:b", "a*", "{a}b", `"a'\%$`, widest + "1", widest + "2"} {
		lock, err := s.take(s.one, name, long)
		if err != nil {
			return err
		}
		locks = append(locks, lock)
	}
	if err := s.unlock(locks[0]); err != nil {
		return err
	}
	if _, err := s.take(s.other, "a", long); err != nil {
		return err
	}
	return errors.Join(s.refused(s.other, "A"), s.refused(s.other, "{a}b"), s.refused(s.other, widest+"2"))
}

func unlock(s *stage) error {
	lock, err := s.take(s.one, "a", long)
	if err != nil {
		return err
	}
	if err := s.unlock(lock); err != nil {
		return err
	}
	if _, err := s.take(s.other, "a", long); err != nil {
		return err
	}
	return s.refused(s.one, "a")
}

func unlockTwice(s *stage) error {
	lock, err := s.take(s.one, "a", long)
	if err != nil {
		return err
	}
	if err := s.unlock(lock); err != nil {
		return err
	}
	if err := errors.Join(lost(s.unlock(lock)), lost(s.extend(lock, long))); err != nil {
		return err
	}
	_, err = s.take(s.other, "a", long)
	return err
}

func end(s *stage) error {
	const slack = 100 // clocks of a store and of this process may differ by a hundredth
	asked := time.Now()
	if _, err := s.take(s.one, "a", brief); err != nil {
		return err
	}
	if _, err := s.eventually(s.other, "a"); err != nil {
		return err
	}
	if held := time.Since(asked); held < brief-brief/slack {
		return fmt.Errorf("it ended at most %s after it was asked for, want %s", held, brief)
	}
	return nil
}

func extend(s *stage) error {
	// A process that stood still comes too late to extend: it tries again.
	for ttl := brief; s.ctx.Err() == nil; ttl *= 2 {
		name, asked := fmt.Sprint("a for ", ttl), time.Now()
		lock, err := s.take(s.one, name, ttl)
		if err != nil {
			return err
		}
		if err := s.extend(lock, long); errors.Is(err, processors.ErrLocked) && time.Since(asked) >= ttl {
			continue
		} else if err != nil {
			return fmt.Errorf("extend what is held: %w", err)
		}
		if err := s.outlast(ttl); err != nil {
			return err
		}
		if err := errors.Join(s.refused(s.other, name), s.refused(s.one, name)); err != nil {
			return err
		}
		return s.unlock(lock)
	}
	return s.ctx.Err()
}

func shorten(s *stage) error {
	lock, err := s.take(s.one, "a", long)
	if err != nil {
		return err
	}
	if err := s.extend(lock, brief); err != nil {
		return err
	}
	_, err = s.eventually(s.other, "a")
	return err
}

func extendOver(s *stage) error {
	lock, err := s.over("a")
	if err != nil {
		return err
	}
	if err := lost(s.extend(lock, long)); err != nil {
		return err
	}
	_, err = s.take(s.other, "a", long)
	return err
}

func extendAnothers(s *stage) error {
	before, now, err := s.passed("a")
	if err != nil {
		return err
	}
	if err := lost(s.extend(before, brief)); err != nil {
		return err
	}
	if err := s.outlast(brief); err != nil {
		return err
	}
	return errors.Join(s.refused(s.one, "a"), s.extend(now, long))
}

func unlockAnothers(s *stage) error {
	before, now, err := s.passed("a")
	if err != nil {
		return err
	}
	if err := lost(s.unlock(before)); err != nil {
		return err
	}
	return errors.Join(s.refused(s.one, "a"), s.extend(now, long), s.unlock(now))
}

func endedContext(s *stage) error {
	ended, cancel := context.WithCancel(s.ctx)
	cancel()
	if lock, err := s.one.Lock(ended, "a", long); lock != nil {
		return fmt.Errorf("a lock, with the error %w", orNil(err))
	} else if err := unknown(err); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	lock, err := s.take(s.one, "b", long)
	if err != nil {
		return err
	}
	if err := errors.Join(unknown(lock.Extend(ended, brief)), unknown(lock.Unlock(ended))); err != nil {
		return err
	}
	if err := s.outlast(brief); err != nil {
		return err
	}
	return errors.Join(s.refused(s.other, "b"), s.extend(lock, long), s.unlock(lock))
}
