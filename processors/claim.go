package processors

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/failpoint"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

const (
	maxClaimBytes = 2 << 20                // of payload in one claim, but for one entry
	retryPause    = 100 * time.Millisecond // between looks for retries while fresh work fills the batches
)

// candidate is a row that a claim has locked.
type candidate struct {
	entry   *reliable.OutboxEntry
	suspect bool
}

// Claim implements [EntriesProcessor]. It waits until Run has registered the
// worker and, around a suspect, until nothing else of this worker runs.
func (p *NonOrdered) Claim(ctx context.Context, n int) (Claim, error) {
	if err := p.awaitStart(ctx); err != nil {
		return nil, err
	}
	if err := p.leaveAlone(ctx); err != nil {
		return nil, err
	}
	c, err := p.attempt(ctx, n)
	if errors.Is(err, errCompany) {
		if err := p.makeRoom(ctx); err != nil {
			return nil, err
		}
		c, err = p.attempt(ctx, n)
	}
	if c == nil || err != nil {
		return nil, err
	}
	return c, nil
}

// attempt claims what is due now. It returns [errCompany] if that is a suspect
// and other entries run.
func (p *NonOrdered) attempt(ctx context.Context, n int) (*claim, error) {
	if p.expired() {
		return nil, errors.New("processors: the lease is not renewed: no claim until it is")
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	failpoint.Hit("claim.begun")
	var c *claim
	var sent time.Time
	err := p.claimer.inTx(context.WithoutCancel(ctx), func(ctx context.Context, tx *sql.Tx) error {
		sent = time.Now()
		if c != nil { // of a try whose COMMIT had no answer
			p.doubt, c = true, nil
		}
		if p.doubt {
			if err := p.settleDoubt(ctx, tx); err != nil {
				return err
			}
		}
		found, err := p.find(ctx, tx, n)
		if err != nil || len(found) == 0 {
			c = nil
			return err
		}
		failpoint.Hit("claim.selected")
		c, err = p.insert(ctx, tx, found)
		failpoint.Hit("claim.inserted")
		return err
	})
	p.doubt = err != nil && (p.doubt || c != nil) // it may have committed all the same
	if err != nil {
		return nil, fmt.Errorf("claim: %w", err)
	}
	if c == nil {
		return nil, nil
	}
	failpoint.Hit("claim.committed")
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.worker != p.worker || p.lapsed || time.Since(sent) > p.LeaseTTL {
		close(c.lost) // it took too long: others may have taken it already
		p.doubt = true
	} else {
		p.claims[c.token] = c
	}
	if c.alone {
		p.lone = c
	}
	return c, nil
}

// settleDoubt gives up the claims of this worker that it does not know: the
// answer to their COMMIT was lost. Nothing of them has begun.
func (p *NonOrdered) settleDoubt(ctx context.Context, tx *sql.Tx) error {
	p.mu.Lock()
	known := slices.Concat(slices.Collect(maps.Keys(p.claims)), p.spent)
	worker := p.worker
	p.frontier.lower(1)
	p.mu.Unlock()
	_, err := tx.ExecContext(ctx, p.q.abandon, worker, idList(p.dialect, known))
	return err
}

// find locks due entries that nobody holds and that this binary covers.
func (p *NonOrdered) find(ctx context.Context, tx *sql.Tx, n int) ([]candidate, error) {
	if err := p.becomeWriter(ctx, tx); err != nil {
		return nil, err
	}
	if err := p.heed(ctx, tx); err != nil {
		return nil, err
	}
	n = p.payload.most(n)
	p.payload.left = maxClaimBytes
	if p.lanes != nil {
		return p.lanes.find(ctx, tx, n)
	}
	return p.findLoose(ctx, tx, n)
}

// becomeWriter takes SQLite's write lock: a transaction that reads first may
// find that others have written since.
func (p *NonOrdered) becomeWriter(ctx context.Context, tx *sql.Tx) error {
	if p.dialect != "sqlite" {
		return nil
	}
	_, err := tx.ExecContext(ctx, p.q.deleteClaims, "[]")
	return err
}

// findLoose finds entries that may run in any order: one suspect, or fresh
// entries and retries, by turns.
func (p *NonOrdered) findLoose(ctx context.Context, tx *sql.Tx, n int) ([]candidate, error) {
	now := time.Now()
	may := now.After(p.restraint.restTo)
	look := may && now.After(p.retryAt)
	turn := look && !p.wasSuspect
	p.wasSuspect = false
	if turn {
		if suspects, err := p.findSuspect(ctx, tx); err != nil || len(suspects) > 0 {
			return suspects, err
		}
	}
	from, err := p.start(ctx, tx, now)
	if err != nil {
		return nil, err
	}
	found, err := p.fresh(ctx, tx, from, n)
	if err != nil {
		return nil, err
	}
	if from > 0 && len(found) < n && p.payload.left > 0 && p.mayRescan(now) {
		p.weigh() // what was found is found again
		p.payload.left = maxClaimBytes
		if found, err = p.fresh(ctx, tx, 0, n); err != nil {
			return nil, err
		}
	}
	retries := 0
	if look || may && len(found) < n && p.payload.left > 0 {
		again, err := p.retries(ctx, tx, false, max(n-len(found), n/4, 1))
		if err != nil {
			return nil, err
		}
		retries = len(again)
		if keep := n - min(retries, n); keep < len(found) {
			p.lowerMark(found[keep].entry.ID)
			p.frontier.whole = false
			found = found[:keep]
		}
		found = append(found, again...)
	}
	if len(found) == 0 && may && !turn {
		if suspects, err := p.findSuspect(ctx, tx); err != nil || len(suspects) > 0 {
			return suspects, err
		}
	}
	if look && retries == 0 {
		p.retryAt = now.Add(retryPause)
	}
	return found, nil
}

// insert writes the claim row, in a statement of its own: its snapshot is
// younger than the locks, so that it sees every claim row of the candidates.
func (p *NonOrdered) insert(ctx context.Context, tx *sql.Tx, found []candidate) (*claim, error) {
	ids := make([]int64, len(found))
	for i, c := range found {
		ids[i] = c.entry.ID
	}
	slices.Sort(ids)
	c := &claim{processor: p, worker: p.id(), lost: make(chan struct{}), alone: found[0].suspect && p.held() == 0}
	held, err := p.insertRow(ctx, tx, c, ids)
	if err != nil || len(held) == 0 {
		return nil, err
	}
	for _, candidate := range found {
		if _, ok := slices.BinarySearch(held, candidate.entry.ID); ok {
			c.entries = append(c.entries, candidate.entry)
		}
	}
	slices.SortFunc(c.entries, func(a, b *reliable.OutboxEntry) int { return int(a.ID - b.ID) })
	if p.lanes != nil && len(held) < len(ids) && slices.ContainsFunc(found, func(f candidate) bool {
		_, ok := slices.BinarySearch(held, f.entry.ID)
		return !ok && f.entry.CausalityKey != ""
	}) {
		return nil, errors.New("processors: entries of the worker's own lanes are in another claim") // without them those behind them can't run
	}
	c.rest = held
	return c, nil
}

// insertRow inserts the claim and returns the ids that are now its own.
func (p *NonOrdered) insertRow(ctx context.Context, tx *sql.Tx, c *claim, ids []int64) ([]int64, error) {
	if p.dialect == "postgres" {
		var at time.Time
		var held string
		err := tx.QueryRowContext(ctx, p.q.insertClaim, c.worker, idList(p.dialect, ids), c.alone, ids[0], ids[len(ids)-1], p.shared()).Scan(&c.token, &at, &held)
		if errors.Is(err, sql.ErrNoRows) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		c.at = at.UTC()
		return parseIDs(held)
	}
	rows, err := tx.QueryContext(ctx, p.q.held, ids[0], ids[len(ids)-1])
	if err != nil {
		return nil, err
	}
	taken, err := readIDs(rows)
	if err != nil {
		return nil, err
	}
	ids = slices.DeleteFunc(ids, func(id int64) bool { return taken[id] })
	if len(ids) == 0 {
		return nil, nil
	}
	var now any
	if err := tx.QueryRowContext(ctx, p.q.now).Scan(&now); err != nil {
		return nil, err
	}
	if c.at, err = timeOf(now); err != nil {
		return nil, err
	}
	return ids, tx.QueryRowContext(ctx, p.q.insertClaim, c.worker, idList(p.dialect, ids), ids[0], ids[len(ids)-1], c.alone, p.shared()).Scan(&c.token)
}
