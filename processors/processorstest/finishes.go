package processorstest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// begin starts a processor that holds n entries.
func (s *stage) begin(lease time.Duration, n int) (*seat, []processors.Claim, error) {
	if err := s.record(n); err != nil {
		return nil, nil, err
	}
	p, err := s.start(lease)
	if err != nil {
		return nil, nil, err
	}
	claims, err := p.claimAll(n)
	return p, claims, err
}

// one returns the single claim of [stage.begin] for one entry.
func (s *stage) one() (*seat, processors.Claim, *reliable.OutboxEntry, error) {
	p, claims, err := s.begin(long, 1)
	if err != nil {
		return nil, nil, nil, err
	}
	return p, claims[0], claims[0].Entries()[0], nil
}

func finish(s *stage) error {
	p, claims, err := s.begin(long, 6)
	if err != nil {
		return err
	}
	left := 6
	for _, c := range claims {
		for _, e := range c.Entries() { // one by one: some of a claim may be finished
			if err := c.Finish(s.t.Context(), outcomes([]*reliable.OutboxEntry{e}, nil)); err != nil {
				return err
			}
			left--
			if err := s.want(left, unfinished); err != nil {
				return err
			}
		}
	}
	if err := errors.Join(s.bury(p), s.record(1)); err != nil { // what it finished stays finished
		return err
	}
	other, err := s.start(short)
	if err != nil {
		return err
	}
	c, err := other.claim(10)
	if err != nil {
		return err
	}
	if len(c.Entries()) != 1 {
		return fmt.Errorf("another worker claimed %v, want only the entry that came last", ids(c))
	}
	return nil
}

func finishRepeated(s *stage) error {
	_, claims, err := s.begin(long, 3)
	if err != nil {
		return err
	}
	for _, c := range claims {
		all := outcomes(c.Entries(), func(o *reliable.Outcome) {
			switch o.Entry.ID % 3 {
			case 0:
				o.State, o.RetryAt, o.Attempts, o.ErrorClass, o.ErrorMessage = reliable.StateRetry, c.At().Add(time.Hour), o.Attempts+1, "class", "message"
			case 1:
				o.State, o.Attempts, o.ErrorClass, o.ErrorMessage = reliable.StateDead, o.Attempts+1, "class", "message"
			}
		})
		var before string
		for try := range 3 { // as a worker does whose answers were lost
			if err := c.Finish(s.t.Context(), all); err != nil {
				return fmt.Errorf("try %d: %w", try+1, err)
			}
			after, err := s.picture()
			if err != nil {
				return err
			}
			if try > 0 && after != before {
				return fmt.Errorf("before:\n%safter:\n%s", before, after)
			}
			before = after
		}
	}
	return nil
}

// finishFenced tries each outcome after others took over: while they hold the
// entry, and after they are through with it.
func finishFenced(s *stage) error {
	p, claims, err := s.begin(long, 4)
	if err != nil {
		return err
	}
	other, err := s.start(short)
	if err != nil {
		return err
	}
	if err := s.bury(p); err != nil {
		return err
	}
	for range 4 {
		theirs, err := other.claim(1)
		if err != nil {
			return err
		}
		if err := late(s, claims); err != nil {
			return fmt.Errorf("while another worker holds an entry: %w", err)
		}
		if err := theirs.Finish(s.t.Context(), outcomes(theirs.Entries(), nil)); err != nil {
			return fmt.Errorf("the holder's finish: %w", err)
		}
		if err := late(s, claims); err != nil {
			return fmt.Errorf("after another worker finished an entry: %w", err)
		}
	}
	return s.want(0, unfinished)
}

// late finishes claims that are lost.
func late(s *stage, claims []processors.Claim) error {
	before, err := s.picture()
	if err != nil {
		return err
	}
	for _, c := range claims {
		for _, state := range []reliable.State{reliable.StateDone, reliable.StateRetry, reliable.StateDead} {
			err := c.Finish(s.t.Context(), outcomes(c.Entries(), func(o *reliable.Outcome) {
				o.State, o.Attempts, o.ErrorClass, o.ErrorMessage, o.RetryAt = state, 9, "late", "late", c.At()
			}))
			if err == nil || !errors.Is(err, reliable.ErrLeaseLost) {
				return errors.Join(err, fmt.Errorf("late Finish() as %s: want ErrLeaseLost", state))
			}
		}
	}
	after, err := s.picture()
	if err == nil && after != before {
		err = fmt.Errorf("before:\n%safter:\n%s", before, after)
	}
	return err
}

// finishOfMany finishes, and gives back, claims in goroutines of their own
// while the claimer goes on.
func finishOfMany(s *stage) error {
	const entries = 200
	if err := s.record(entries); err != nil {
		return err
	}
	p, err := s.start(long)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	done, mistakes := make(map[int64]int), []error(nil)
	finished := func() int { mu.Lock(); defer mu.Unlock(); return len(done) }
	note := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			mistakes = append(mistakes, err)
		}
	}
	var all sync.WaitGroup
	for deadline := time.Now().Add(s.patience); finished() < entries && time.Now().Before(deadline); {
		c, err := p.Claim(s.t.Context(), 10)
		if err != nil {
			return err
		}
		if c == nil {
			all.Wait() // what they give back is due again
			continue
		}
		all.Go(func() {
			half := c.Entries()[:(len(c.Entries())+1)/2]
			if err := c.Finish(s.t.Context(), outcomes(half, nil)); err != nil {
				note(err)
				return
			}
			mu.Lock()
			for _, e := range half {
				done[e.ID]++
			}
			mu.Unlock()
			note(c.Release(s.t.Context()))
		})
	}
	all.Wait()
	again := 0
	for _, times := range done {
		again += times - 1
	}
	if again > 0 {
		note(fmt.Errorf("%d finishes were of entries that were finished before", again))
	}
	if finished() != entries {
		note(fmt.Errorf("%d entries were finished, want %d", finished(), entries))
	}
	note(s.want(0, unfinished))
	return errors.Join(mistakes...)
}

func retry(s *stage) error {
	p, c, e, err := s.one()
	if err != nil {
		return err
	}
	state := json.RawMessage(`{"work":{"state":"pending","attempts":1}}`)
	failed := reliable.Outcome{Entry: e, State: reliable.StateRetry, RetryAt: c.At(), Attempts: 1, ErrorClass: "class", ErrorMessage: "message", Callbacks: state}
	if err := c.Finish(s.t.Context(), []reliable.Outcome{failed}); err != nil {
		return err
	}
	again, err := p.claim(10)
	if err != nil {
		return err
	}
	got := again.Entries()[0]
	if len(again.Entries()) != 1 || got.ID != e.ID || got.Attempts != 1 || string(got.Callbacks) != string(state) || got.Crashes != 0 {
		return fmt.Errorf("claimed %+v, want entry %d with one attempt and its callbacks' state", got, e.ID)
	}
	return s.want(1, "id = ? AND error_class = 'class' AND error_message = 'message' AND failed_at IS NOT NULL", e.ID)
}

func snooze(s *stage) error {
	p, claims, err := s.begin(long, 2)
	if err != nil {
		return err
	}
	entries := slices.Concat(claims[0].Entries(), claims[len(claims)-1].Entries())
	waits, due := entries[0].ID, entries[len(entries)-1].ID
	for _, c := range claims {
		err := c.Finish(s.t.Context(), outcomes(c.Entries(), func(o *reliable.Outcome) {
			o.State, o.RetryAt = reliable.StateRetry, c.At()
			if o.Entry.ID == waits {
				o.RetryAt = c.At().Add(time.Hour)
			}
		}))
		if err != nil {
			return err
		}
	}
	c, err := p.claim(10)
	if err != nil {
		return err
	}
	if got := ids(c); !slices.Equal(got, []int64{due}) || c.Entries()[0].Attempts != 0 {
		return fmt.Errorf("claimed %v with %d attempts, want only entry %d, which is due, with none", got, c.Entries()[0].Attempts, due)
	}
	return s.want(2, "attempts = 0 AND failed_at IS NULL AND error_class IS NULL")
}

func dead(s *stage) error {
	p, claims, err := s.begin(long, 2)
	if err != nil {
		return err
	}
	first := ids(claims...)[0]
	for _, c := range claims {
		err := c.Finish(s.t.Context(), outcomes(c.Entries(), func(o *reliable.Outcome) {
			o.State, o.Attempts, o.ErrorClass, o.ErrorMessage = reliable.StateDead, 1, "class", "message"
			if o.Entry.ID != first {
				o.State, o.RetryAt = reliable.StateRetry, c.At()
			}
		}))
		if err != nil {
			return err
		}
	}
	if err := s.record(1); err != nil {
		return err
	}
	rest, err := p.claimAll(2)
	if err != nil {
		return err
	}
	if slices.Contains(ids(rest...), first) {
		return fmt.Errorf("claimed %v, but %d is dead", ids(rest...), first)
	}
	return s.want(1, "id = ? AND dead_at IS NOT NULL AND processed_at IS NULL AND attempts = 1 AND error_class = 'class' AND error_message = 'message'", first)
}
