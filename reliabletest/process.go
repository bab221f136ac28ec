package reliabletest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// errEnded says that a callback ended the test.
var errEnded = errors.New("a callback ended the test")

// due returns the entries that are to run now, in order.
func (o *Outbox) due() ([]*reliable.OutboxEntry, error) {
	pending, err := o.pending()
	if err != nil {
		return nil, err
	}
	var due []*reliable.OutboxEntry
	for _, r := range pending {
		if o.isDue(r) {
			due = append(due, r.entry)
		}
	}
	return due, nil
}

// pending returns the entries that are to run, now or later. What this registry
// has nothing for is not among them; the test's log says so.
func (o *Outbox) pending() ([]*record, error) {
	all, err := o.records()
	if err != nil {
		return nil, err
	}
	var pending []*record
	held := make(holds)
	for _, r := range all {
		covered := o.plugin.Registry().Covers(r.entry)
		switch {
		case r.done || r.dead && !o.stops() || held[r.entry.CausalityKey]:
			continue
		case r.dead:
		case covered:
			pending = append(pending, r)
		case !o.told[r.entry.ID]:
			o.told[r.entry.ID] = true
			o.t.Logf("reliabletest: %s is left: this registry has nothing for it: owed %q", describe(r.entry), r.entry.Owed)
		}
		if r.dead || !covered || !o.isDue(r) {
			o.hold(held, r.entry)
		}
	}
	return pending, nil
}

// records returns the transaction's entries, or the database's.
func (o *Outbox) records() (all []*record, err error) {
	if o.inline != nil {
		all, err = o.q.read(o.tx, o.q.unfinished)
	} else {
		all, err = o.q.own(o.t.Context(), o.tx, o.pool)
	}
	if err != nil {
		return nil, fmt.Errorf("read what is owed: %w", err)
	}
	return all, nil
}

// process runs what an entry owes, and writes what that came to, unless its
// process died.
func (o *Outbox) process(e *reliable.OutboxEntry) (outcome reliable.Outcome, died bool, err error) {
	ctx, kill := context.WithCancelCause(o.t.Context())
	defer kill(nil)
	o.token++
	a := &run{outbox: o, kill: kill}
	batch := o.plugin.NewBatch(o.db, []*reliable.OutboxEntry{e}, o.token, o.Now())
	batch.Finisher, batch.Around, batch.Clock, batch.NoBreaker = finisher{o.q}, a.around, o.Now, true
	batch.KeyPolicy = o.policy

	var ended sync.WaitGroup
	returned := false
	ended.Go(func() { // a callback may end its goroutine, by t.FailNow for one
		batch.Process(ctx, e, func(result reliable.Outcome) { outcome = result })
		returned = true
	})
	ended.Wait()
	switch {
	case !returned && o.t.Failed():
		return outcome, false, errEnded
	case a.broken != nil:
		return outcome, false, fmt.Errorf("%s: the transaction can't go on: %w; before that: %w", describe(e), a.broken, failures(outcome))
	case a.died:
		return outcome, true, nil
	case outcome.Interrupted:
		return outcome, false, fmt.Errorf("%s: interrupted: %w", describe(e), context.Cause(ctx))
	}
	if err := o.q.finish(ctx, o.db.Statement.ConnPool, outcome); err != nil {
		return outcome, false, fmt.Errorf("%s: write what it came to: %w; before that: %w", describe(e), err, failures(outcome))
	}
	return outcome, false, nil
}

// failures joins the errors of an outcome.
func failures(o reliable.Outcome) error {
	errs := []error{errors.New("no failure")}
	for i := range o.Results {
		if err := o.Results[i].Err; err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs[min(1, len(errs)-1):]...)
}

// run is one run of one entry.
type run struct {
	outbox *Outbox
	kill   context.CancelCauseFunc
	died   bool  // by the test's wish
	broken error // the transaction can't go on
}

// around puts a savepoint around a callback. What failed in it is undone
// where it would keep the transaction from going on, as an error of
// PostgreSQL's does; all else stays, as in production.
func (r *run) around(ctx context.Context, a reliable.Attempt, next func(context.Context) error) error {
	o := r.outbox
	if o.inline != nil { // nothing is open that could be spoilt
		return r.mortal(ctx, a, next)
	}
	if err := o.tx.Exec("SAVEPOINT " + callbackSavepoint).Error; err != nil {
		r.broken = err
		r.kill(reliable.ErrLeaseLost)
		return err
	}
	defer func() {
		if err := o.leave(ctx); err != nil {
			r.broken = err
			r.kill(reliable.ErrLeaseLost)
		}
	}()
	return r.mortal(ctx, a, next)
}

// callbackSavepoint is set around each callback.
const callbackSavepoint = "reliabletest_callback"

// leave ends the savepoint around a callback.
func (o *Outbox) leave(ctx context.Context) error {
	err := o.db.Statement.ConnPool.(*database).settle(ctx)
	if err != nil {
		return err
	}
	if o.tx.Exec("RELEASE SAVEPOINT "+callbackSavepoint).Error == nil {
		return nil
	}
	if err := o.tx.Exec("ROLLBACK TO SAVEPOINT " + callbackSavepoint).Error; err != nil {
		return err
	}
	return o.tx.Exec("RELEASE SAVEPOINT " + callbackSavepoint).Error
}

// reason is a failure's text, of a panic with its stack.
func reason(err error) string {
	var panicked *reliable.PanicError
	if errors.As(err, &panicked) {
		return fmt.Sprintf("%v\n%s", err, panicked.Stack)
	}
	return err.Error()
}
