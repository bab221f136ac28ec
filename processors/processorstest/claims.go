package processorstest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

func nothingDue(s *stage) error {
	p, err := s.start(long)
	if err != nil {
		return err
	}
	for range 3 {
		c, err := p.Claim(s.t.Context(), 10)
		if err != nil {
			return err
		}
		if c != nil {
			return fmt.Errorf("Claim() = %v, want nil", ids(c))
		}
	}
	return nil
}

func batches(s *stage) error {
	p, err := s.start(long)
	if err != nil {
		return err
	}
	if err := s.record(10); err != nil {
		return err
	}
	var seen []int64
	for _, n := range []int{1, 4, 10} {
		c, err := p.claim(n)
		if err != nil {
			return err
		}
		got := ids(c)
		if len(got) > n || !slices.IsSorted(got) || c.At().IsZero() || c.At().Location() != time.UTC {
			return fmt.Errorf("Claim(%d) = %v at %v, want at most %d, by id, at the database's time, UTC", n, got, c.At(), n)
		}
		seen = append(seen, got...)
	}
	slices.Sort(seen)
	if len(slices.Compact(slices.Clone(seen))) != len(seen) || len(seen) != 10 {
		return fmt.Errorf("three claims have the entries %v, want all ten, each once", seen)
	}
	return mixed(s)
}

// mixed lets a worker claim entries that are due again beside younger ones that
// are new.
func mixed(s *stage) error {
	p, claims, err := s.begin(long, 3)
	if err != nil {
		return err
	}
	for _, c := range claims {
		err := c.Finish(s.t.Context(), outcomes(c.Entries(), func(o *reliable.Outcome) { o.State, o.RetryAt = reliable.StateRetry, c.At() }))
		if err != nil {
			return err
		}
	}
	if err := errors.Join(p.stop(), s.record(3)); err != nil {
		return err
	}
	other, err := s.start(long)
	if err != nil {
		return err
	}
	claims, err = other.claimAll(6)
	if err != nil {
		return err
	}
	for _, c := range claims {
		if got := ids(c); !slices.IsSorted(got) {
			return fmt.Errorf("claimed %v, want them by id", got)
		}
	}
	return nil
}

// heldOnce lets many workers claim at the same time, until all is held.
func heldOnce(s *stage) error {
	const entries, workers = 2000, 8
	if err := s.record(entries); err != nil {
		return err
	}
	var mu sync.Mutex
	holders := make(map[int64]string)
	var mistakes []error
	held := func() int { mu.Lock(); defer mu.Unlock(); return len(holders) }
	seats := make([]*seat, workers)
	for i := range seats {
		var err error
		if seats[i], err = s.start(long); err != nil {
			return err
		}
	}
	var all sync.WaitGroup
	for _, p := range seats {
		all.Go(func() {
			for deadline := time.Now().Add(s.patience); held() < entries && time.Now().Before(deadline); {
				c, err := p.Claim(s.t.Context(), 7)
				mu.Lock()
				if err != nil {
					mistakes = append(mistakes, err)
				}
				if c != nil {
					for _, id := range ids(c) {
						if holder := holders[id]; holder != "" {
							mistakes = append(mistakes, fmt.Errorf("%s and %s hold entry %d", holder, p.worker, id))
						}
						holders[id] = p.worker
					}
				}
				enough := len(mistakes) > 3
				mu.Unlock()
				if enough {
					return
				}
			}
		})
	}
	all.Wait()
	if len(mistakes) == 0 && held() != entries {
		return fmt.Errorf("%d entries were claimed, want %d", held(), entries)
	}
	return errors.Join(mistakes...)
}

func tokens(s *stage) error {
	if err := s.record(8); err != nil {
		return err
	}
	var last int64
	for range 2 {
		p, err := s.start(long)
		if err != nil {
			return err
		}
		for range 2 {
			kept, err := p.claim(1)
			if err != nil {
				return err
			}
			back, err := p.claim(1)
			if err != nil {
				return err
			}
			if err := back.Release(s.t.Context()); err != nil {
				return err
			}
			if kept.Token() <= last || back.Token() <= kept.Token() {
				return fmt.Errorf("tokens %d, %d, %d, want each higher than the last", last, kept.Token(), back.Token())
			}
			last = back.Token()
		}
	}
	return nil
}

// notCovered records what another binary handles, and after it what this one
// does.
func notCovered(s *stage) error {
	other, _ := s.connect("other")
	if err := errors.Join(recordIn(s.t.Context(), other, "other", 3), s.record(1)); err != nil {
		return err
	}
	p, err := s.start(long)
	if err != nil {
		return err
	}
	for range 3 {
		c, err := p.claim(10)
		if err != nil {
			return err
		}
		if len(c.Entries()) != 1 || c.Entries()[0].Context != "known" {
			return fmt.Errorf("entries %v were claimed, want only the one of the context that is handled", ids(c))
		}
		if err := errors.Join(c.Finish(s.t.Context(), outcomes(c.Entries(), nil)), s.record(1)); err != nil {
			return err
		}
	}
	return s.want(3, unfinished+" AND context = 'other' AND attempts = 0 AND crashes = 0")
}

// cancelled breaks claims off at many moments.
func cancelled(s *stage) error {
	const entries = 5
	if err := s.record(entries); err != nil {
		return err
	}
	p, err := s.start(long)
	if err != nil {
		return err
	}
	for i := range 60 {
		ctx, cancel := context.WithTimeout(s.t.Context(), time.Duration(i)*50*time.Microsecond)
		c, err := p.Claim(ctx, entries)
		broken := ctx.Err() != nil
		cancel()
		switch {
		case c != nil:
			err = c.Release(s.t.Context())
		case broken:
			err = nil
		}
		if err != nil {
			return err
		}
		claims, err := p.claimAll(entries)
		if err != nil {
			return fmt.Errorf("after %d claims that were broken off: %w", i+1, err)
		}
		if err := releaseAll(s, claims); err != nil {
			return err
		}
	}
	return nil
}

func releaseAll(s *stage, claims []processors.Claim) error {
	for _, c := range claims {
		if err := c.Release(s.t.Context()); err != nil {
			return err
		}
	}
	return nil
}
