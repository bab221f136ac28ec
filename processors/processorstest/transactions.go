package processorstest

import (
	"errors"
	"fmt"
	"strings"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// finishIn calls FinishIn with an outcome in a transaction of the
// application's, which ends by end.
func (s *stage) finishIn(c processors.Claim, o reliable.Outcome, end func(tx *gorm.DB) *gorm.DB) error {
	tx := s.db.WithContext(s.t.Context()).Begin()
	if tx.Error != nil {
		return tx.Error
	}
	if err := c.FinishIn(s.t.Context(), tx.Statement.ConnPool, o); err != nil {
		return errors.Join(err, tx.Rollback().Error)
	}
	return end(tx).Error
}

// asks holds FinishedIn against what it should be.
func (s *stage) asks(c processors.Claim, o reliable.Outcome, want bool) error {
	got, err := c.FinishedIn(s.t.Context(), o)
	if err == nil && got != want {
		err = fmt.Errorf("FinishedIn() = %v, want %v", got, want)
	}
	return err
}

// partial is an outcome of a callback among others, which is done.
func partial(e *reliable.OutboxEntry) reliable.Outcome {
	return reliable.Outcome{Entry: e, State: reliable.StateRetry, Attempts: e.Attempts, Callbacks: []byte(`{"work":{"state":"done"}}`)}
}

func commitsIn(s *stage) error {
	_, c, e, err := s.one()
	if err != nil {
		return err
	}
	for _, o := range []reliable.Outcome{partial(e), {Entry: e}} {
		if err := errors.Join(s.finishIn(c, o, (*gorm.DB).Commit), s.asks(c, o, true)); err != nil {
			return fmt.Errorf("as %s: %w", o.State, err)
		}
		left := 0
		if o.State == reliable.StateRetry {
			left = 1
		}
		if err := errors.Join(s.want(left, unfinished), s.want(left, unfinished+" AND callbacks = ?", string(o.Callbacks))); err != nil {
			return err
		}
	}
	before, err := s.picture()
	if err != nil {
		return err
	}
	if err := c.Finish(s.t.Context(), []reliable.Outcome{{Entry: e}}); err != nil { // as the worker does, with its group
		return err
	}
	after, err := s.picture()
	if err == nil && s.unclaimed(after) != s.unclaimed(before) {
		err = fmt.Errorf("the group's finish changed\n%sto\n%s", before, after)
	}
	return err
}

// unclaimed is a picture without the claims.
func (s *stage) unclaimed(picture string) string {
	var b strings.Builder
	for line := range strings.Lines(picture) {
		if !strings.HasPrefix(line, s.plugin.Tables().Claims()) {
			b.WriteString(line)
		}
	}
	return b.String()
}

func rollsBackIn(s *stage) error {
	_, c, e, err := s.one()
	if err != nil {
		return err
	}
	before, err := s.picture()
	if err != nil {
		return err
	}
	for _, o := range []reliable.Outcome{partial(e), {Entry: e}} {
		if err := errors.Join(s.finishIn(c, o, (*gorm.DB).Rollback), s.asks(c, o, false)); err != nil {
			return fmt.Errorf("as %s: %w", o.State, err)
		}
		if after, err := s.picture(); err != nil || after != before {
			return errors.Join(err, fmt.Errorf("rolled back as %s, it changed\n%sto\n%s", o.State, before, after))
		}
	}
	return errors.Join(c.Finish(s.t.Context(), []reliable.Outcome{{Entry: e}}), s.want(0, unfinished))
}

func fencedIn(s *stage) error {
	p, c, e, err := s.one()
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
	theirs, err := other.claim(1)
	if err != nil {
		return err
	}
	before, err := s.picture()
	if err != nil {
		return err
	}
	for _, o := range []reliable.Outcome{partial(e), {Entry: e}} {
		if err := s.finishIn(c, o, (*gorm.DB).Commit); err == nil || !errors.Is(err, reliable.ErrLeaseLost) {
			return errors.Join(err, fmt.Errorf("late FinishIn() as %s: want ErrLeaseLost", o.State))
		}
		if _, err := c.FinishedIn(s.t.Context(), o); err == nil || !errors.Is(err, reliable.ErrLeaseLost) {
			return errors.Join(err, fmt.Errorf("late FinishedIn() as %s: want ErrLeaseLost", o.State))
		}
	}
	if after, err := s.picture(); err != nil || after != before {
		return errors.Join(err, fmt.Errorf("it changed\n%sto\n%s", before, after))
	}
	return errors.Join(s.finishIn(theirs, reliable.Outcome{Entry: e}, (*gorm.DB).Commit), s.want(0, unfinished))
}
