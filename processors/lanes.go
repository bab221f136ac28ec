package processors

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/failpoint"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// rebalanceEvery is how often a worker looks for lanes to take or to give up.
const rebalanceEvery = time.Second

// lanes is what makes a NonOrdered ordered: which lanes are this worker's, and
// how their entries are found. Apart from locks and returned, it is used by Claim
// alone.
//
// A lane is a worker's while the lane's row names it and its own row is in
// outbox_workers. Each claim locks the latter first. So nobody takes a lane
// while its owner claims, and who takes it then sees all that was claimed.
type lanes struct {
	*OrderedByCausalityKey
	site  Site
	q     laneQueries
	locks *laneLocks // nil without a Locker
	ring  ring

	as      string // the id of the worker's row under which the rest is true
	owned   []int  // in ascending order
	leaving []int  // of them: not read any more, and given up once nothing of them runs
	lookAt  time.Time
	looseAt time.Time // when to look for entries without a key again, though there are others
	loose   bool      // whether there were some at the last look
	hadTurn bool      // whether the last claim had some

	returned atomic.Bool // entries were given back since the last read
}

func newLanes(p *OrderedByCausalityKey, site Site) (*lanes, error) {
	if err := p.mistakes(); err != nil {
		return nil, err
	}
	l := &lanes{OrderedByCausalityKey: p, site: site, q: newLaneQueries(site.DB.Name(), site.Plugin.Tables())}
	if p.Locker != nil {
		l.locks = newLaneLocks(&p.base, p.Locker, p.WithoutLocker, site.Plugin.Tables().Entries())
	}
	return l, nil
}

// leave gives back the locks. The lanes' rows need nothing: their owner is gone.
func (l *lanes) leave(ctx context.Context) {
	if l.locks != nil {
		l.locks.close(ctx)
	}
}

// rebalance takes lanes that are free and gives up those beyond this worker's
// share, now and then.
func (l *lanes) rebalance(ctx context.Context) error {
	if id := l.base.id(); id != l.as { // registered anew: what it had is anybody's
		l.as, l.owned, l.leaving, l.lookAt = id, nil, nil, time.Time{}
		l.ring = ring{keys: keysPerThread * l.site.Threads}
		if l.locks != nil {
			l.locks.releaseAll(ctx)
		}
	}
	if time.Now().Before(l.lookAt) || l.base.expired() {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	view, err := l.view(ctx)
	if err != nil {
		return err
	}
	take, give := l.plan(view)
	if l.locks != nil {
		take = l.locks.lock(ctx, take)
	}
	if len(take)+len(give) > 0 {
		took, err := l.move(ctx, take, give)
		if l.locks != nil { // also if it is not known whether they are this worker's: it asks again
			l.locks.release(ctx, without(take, took))
			l.locks.release(ctx, give)
		}
		if err != nil {
			return err
		}
		failpoint.Hit("lanes.moved")
		view.Owned = append(without(view.Owned, give), took...)
		slices.Sort(view.Owned)
	}
	l.own(view.Owned)
	l.lookAt = time.Now().Add(rebalanceEvery)
	return nil
}

// plan returns which free lanes to take, and which to give up now. What else is
// to be given up is not read any more from now on.
func (l *lanes) plan(view LaneView) (take, give []int) {
	assignment := l.Assignment
	if assignment == nil {
		assignment = Shares{}
	}
	wanted := assignment.Lanes(view)
	for _, lane := range view.Free {
		if slices.Contains(wanted, lane) {
			take = append(take, lane)
		}
	}
	busy := l.busy()
	l.leaving = nil
	doubt := l.base.doubt // a claim may be there that the worker does not know of, and gives up before its next one
	for _, lane := range view.Owned {
		switch {
		case slices.Contains(wanted, lane) && !l.refused(lane):
		case busy[lane], doubt:
			l.leaving = append(l.leaving, lane)
		default:
			give = append(give, lane)
		}
	}
	return take, give
}

// refused reports whether a lane is this worker's by its row only: an answer to
// the database's COMMIT was lost, and the lock was given back.
func (l *lanes) refused(lane int) bool {
	return l.locks != nil && !l.locks.holds(lane)
}

// own notes what is owned now.
func (l *lanes) own(owned []int) {
	l.owned = owned
	l.ring.turnTo(slices.DeleteFunc(slices.Clone(owned), func(lane int) bool { return slices.Contains(l.leaving, lane) }))
}

// busy returns the lanes of which this worker has something in work.
func (l *lanes) busy() map[int]bool {
	busy := make(map[int]bool)
	l.base.unfinished(func(e *reliable.OutboxEntry) {
		if e.CausalityKey != "" {
			busy[int(reliable.LaneOf(e.CausalityKey))] = true
		}
	})
	return busy
}

// keys returns the causality keys that are in work: those of this worker's
// claims, and those of claims that dead workers left and nobody has rescued yet.
// Of its lanes no other worker has any.
func (l *lanes) keys(ctx context.Context, tx *sql.Tx) (map[string]bool, error) {
	keys := make(map[string]bool)
	l.base.unfinished(func(e *reliable.OutboxEntry) {
		if e.CausalityKey != "" {
			keys[e.CausalityKey] = true
		}
	})
	rows, err := tx.QueryContext(ctx, l.q.strayKeys, l.as)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var key string
		if err := rows.Scan(&key); err != nil {
			return nil, err
		}
		keys[key] = true
	}
	return keys, rows.Err()
}

// view reads who owns the lanes.
func (l *lanes) view(ctx context.Context) (view LaneView, err error) {
	err = l.base.claimer.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		view = LaneView{}
		if err := l.base.becomeWriter(ctx, tx); err != nil {
			return err
		}
		if err := tx.QueryRowContext(ctx, l.q.workers, orderedName).Scan(&view.Workers); err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, l.q.lanes, l.as)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var lane int
			var mine, free bool
			if err := rows.Scan(&lane, &mine, &free); err != nil {
				return err
			}
			switch {
			case mine:
				view.Owned = append(view.Owned, lane)
			case free:
				view.Free = append(view.Free, lane)
			}
		}
		return rows.Err()
	})
	return view, err
}

// move gives lanes up and takes others. It returns those that it took: others
// may have been faster.
func (l *lanes) move(ctx context.Context, take, give []int) (took []int, err error) {
	err = l.base.claimer.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		took = nil
		if err := l.hold(ctx, tx); err != nil {
			return err
		}
		if len(give) > 0 {
			if _, err := tx.ExecContext(ctx, l.q.give, l.as, l.list(give)); err != nil {
				return err
			}
		}
		if len(take) == 0 {
			return nil
		}
		locked, err := readLanes(tx.QueryContext(ctx, l.q.lockLanes, l.list(take)))
		if err != nil || len(locked) == 0 {
			return err
		}
		failpoint.Hit("lanes.locked")
		// A statement of its own: it sees what became of the lanes, and of their owners, until they were locked.
		if took, err = readLanes(tx.QueryContext(ctx, l.q.free, l.list(locked))); err != nil || len(took) == 0 {
			return err
		}
		_, err = tx.ExecContext(ctx, l.q.take, l.as, l.list(took))
		return err
	})
	return took, err
}

// hold locks the worker's own row: until the transaction ends nobody takes it
// for dead, and nobody takes its lanes. Without the row the lease is lost.
func (l *lanes) hold(ctx context.Context, tx *sql.Tx) error {
	if err := l.base.becomeWriter(ctx, tx); err != nil {
		return err
	}
	var n int
	err := tx.QueryRowContext(ctx, l.q.hold, l.as).Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		l.base.gone()
		return fmt.Errorf("row %q of %s is gone: %w", l.as, l.site.Plugin.Tables().Workers(), reliable.ErrLeaseLost)
	}
	return err
}

func (l *lanes) list(lanes []int) string { return idList(l.base.dialect, laneIDs(lanes)) }

func readLanes(rows *sql.Rows, err error) (found []int, _ error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var lane int
		if err := rows.Scan(&lane); err != nil {
			return nil, err
		}
		found = append(found, lane)
	}
	slices.Sort(found)
	return found, rows.Err()
}
