package processorstest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

func release(s *stage) error {
	p, claims, err := s.begin(long, 5)
	if err != nil {
		return err
	}
	if err := releaseAll(s, claims); err != nil {
		return err
	}
	back, err := p.Claim(s.t.Context(), 5) // at once: no waiting for a slower look
	if err != nil {
		return err
	}
	if back == nil || !slices.Equal(ids(back), ids(claims...)) {
		return fmt.Errorf("Claim() = %v, want the entries that were given back, %v", back, ids(claims...))
	}
	if err := back.Release(s.t.Context()); err != nil {
		return err
	}
	other, err := s.start(long)
	if err != nil {
		return err
	}
	theirs, err := other.claim(5)
	if err != nil {
		return err
	}
	if len(theirs.Entries()) != 5 {
		return fmt.Errorf("another worker claimed %v, want all five together: they are no suspects", ids(theirs))
	}
	if err := theirs.Release(s.t.Context()); err != nil {
		return err
	}
	return s.want(5, unfinished+" AND attempts = 0 AND crashes = 0 AND failed_at IS NULL")
}

func releaseOfRest(s *stage) error {
	p, claims, err := s.begin(long, 5)
	if err != nil {
		return err
	}
	all := ids(claims...)
	done := 0
	for _, c := range claims {
		some := c.Entries()[:len(c.Entries())/2]
		done += len(some)
		if err := errors.Join(c.Finish(s.t.Context(), outcomes(some, nil)), c.Release(s.t.Context()), c.Release(s.t.Context())); err != nil {
			return err
		}
	}
	back, err := p.claimAll(len(all) - done)
	if err != nil {
		return err
	}
	if err := s.want(len(ids(back...)), unfinished); err != nil {
		return err
	}
	// What was given back is not this claim's to finish any more.
	for _, c := range claims {
		late := outcomes(c.Entries(), nil)
		if err := c.Finish(s.t.Context(), late); err != nil && !errors.Is(err, reliable.ErrLeaseLost) {
			return fmt.Errorf("Finish() after Release() = %w, want nil or ErrLeaseLost", err)
		}
	}
	return s.want(len(all)-done, unfinished)
}

// renewal holds a claim for two leases while another worker looks for work. The
// database's own clock says when they are over, by the heartbeats.
func renewal(s *stage) error {
	const lease = 3 * time.Second
	p, claims, err := s.begin(lease, 3)
	if err != nil {
		return err
	}
	other, err := s.start(lease)
	if err != nil {
		return err
	}
	held := time.Now()
	err = s.eventually("two leases are over", func() (bool, error) {
		theirs, _ := other.Claim(s.t.Context(), 3) // it may fail for a while
		if theirs != nil {
			return false, fmt.Errorf("another worker claimed %v after %s, under a lease of %s that was renewed", ids(theirs), time.Since(held), lease)
		}
		return time.Since(held) > 2*lease, nil
	})
	if err != nil {
		return err
	}
	for _, c := range claims {
		select {
		case <-c.Lost():
			return errors.New("Lost is closed, but the lease was renewed")
		default:
		}
		if err := c.Finish(s.t.Context(), outcomes(c.Entries(), nil)); err != nil {
			return err
		}
	}
	return errors.Join(s.want(0, unfinished), p.stop())
}

func lost(s *stage) error {
	p, claims, err := s.begin(short, 2)
	if err != nil {
		return err
	}
	if err := s.bury(p); err != nil {
		return err
	}
	for _, c := range claims {
		select {
		case <-c.Lost():
		case <-time.After(s.patience):
			return errors.New("Lost is not closed")
		}
	}
	return s.eventually("the worker took its entries again", func() (bool, error) {
		ctx, cancel := context.WithTimeout(s.t.Context(), s.patience)
		defer cancel()
		c, err := p.Claim(ctx, 10)
		if c != nil {
			err = c.Finish(s.t.Context(), outcomes(c.Entries(), nil))
		}
		if err != nil && !errors.Is(err, reliable.ErrLeaseLost) {
			return false, nil // it may refuse to claim until its lease is renewed
		}
		left, err := s.count(s.plugin.Tables().Entries(), unfinished)
		return left == 0, err
	})
}

func takeOver(s *stage) error {
	const entries = 6
	p, claims, err := s.begin(long, entries)
	if err != nil {
		return err
	}
	first := claims[0]
	half := first.Entries()[:len(first.Entries())/2]
	if err := first.Finish(s.t.Context(), outcomes(half, nil)); err != nil {
		return err
	}
	if err := s.bury(p); err != nil {
		return err
	}
	other, err := s.start(short)
	if err != nil {
		return err
	}
	var taken []int64
	for len(taken) < entries-len(half) {
		c, err := other.claim(entries)
		if err != nil {
			return fmt.Errorf("after %v were taken over: %w", taken, err)
		}
		if c.Token() <= claims[len(claims)-1].Token() {
			return fmt.Errorf("token %d after %d, want a higher one", c.Token(), claims[len(claims)-1].Token())
		}
		taken = append(taken, ids(c)...)
		for _, e := range c.Entries() {
			if e.Attempts != 0 {
				return fmt.Errorf("entry %d has %d attempts, want none burnt", e.ID, e.Attempts)
			}
		}
		if err := c.Finish(s.t.Context(), outcomes(c.Entries(), nil)); err != nil {
			return err
		}
	}
	return s.want(0, unfinished)
}

func end(s *stage) error {
	var seats []*seat
	for range 2 {
		p, claims, err := s.begin(long, 3)
		if err != nil {
			return err
		}
		for _, c := range claims {
			if err := c.Finish(s.t.Context(), outcomes(c.Entries(), nil)); err != nil {
				return err
			}
		}
		seats = append(seats, p)
	}
	for _, p := range seats {
		if err := p.stop(); err != nil {
			return fmt.Errorf("Run() = %w, want nil", err)
		}
	}
	tables := s.plugin.Tables()
	for _, table := range []string{tables.Workers(), tables.Claims()} {
		n, err := s.count(table, "1 = 1")
		if err != nil {
			return err
		}
		if n != 0 {
			return fmt.Errorf("%d rows are left in %s, want none", n, table)
		}
	}
	return nil
}

func noTables(s *stage) error {
	db, err := s.harness.Database(s.t)()
	if err != nil {
		return err
	}
	plugin := reliable.New(reliable.Config{Registry: new(reliable.Registry)})
	if err := db.Use(plugin); err != nil {
		return err
	}
	if pool, err := db.DB(); err == nil {
		defer func() { _ = pool.Close() }()
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- s.harness.New(long).Run(ctx, processors.Site{DB: db, Plugin: plugin, Worker: "early", Threads: 1}, func() {})
	}()
	defer cancel()
	select {
	case err := <-ended:
		if err == nil {
			return errors.New("Run() = nil, want an error that says what is missing")
		}
		return nil
	case <-time.After(s.patience):
		return fmt.Errorf("Run() has not returned after %s", s.patience)
	}
}
