package processors

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/gorm-aftercommit/aftercommit/internal/failpoint"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// stray is a claim whose worker is gone.
type stray struct {
	token  int64
	worker string
	ids    []int64
	alone  bool
	died   []*reliable.OutboxEntry // its suspect, if that had too many crashes
}

// rescue takes the entries of dead workers: their claims go, and what stood in
// them becomes suspect, to run alone next. A crash alone counts. What this
// worker holds itself is not touched, though its lease be over: it lives, and
// gives that back when it registers anew.
func (p *NonOrdered) rescue(ctx context.Context, s *session) error {
	var rescued []stray
	err := s.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rescued = nil
		own := p.id()
		if _, err := tx.ExecContext(ctx, p.q.deadWorkers, own); err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, p.q.strayClaims, own)
		if err != nil {
			return err
		}
		if rescued, err = readStrays(rows); err != nil || len(rescued) == 0 {
			return err
		}
		tokens := make([]int64, len(rescued))
		for i := range rescued {
			tokens[i] = rescued[i].token
			if p.former(rescued[i].worker) {
				rescued[i].ids = nil // nothing of it has begun: it came when the lease that it stands under was over
			}
			if err := p.suspectAll(ctx, tx, &rescued[i]); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, p.q.deleteClaims, idList(p.dialect, tokens)); err != nil {
			return err
		}
		failpoint.Hit("rescue.before_commit")
		return nil
	})
	if err != nil {
		return err
	}
	monitor := p.site.Plugin.Monitor()
	for _, c := range rescued {
		if len(c.ids) > 0 {
			monitor.Publish(&reliable.EntriesRescued{Worker: c.worker, Entries: len(c.ids), Died: len(c.died)})
		}
		for _, e := range c.died {
			o := reliable.Outcome{
				Entry: e, State: reliable.StateDead, Parked: p.parks() && e.CausalityKey != "",
				ErrorClass: "crash", ErrorMessage: fmt.Sprintf("the worker died each of the %d times that this entry ran alone", e.Crashes),
			}
			for _, event := range o.Events() {
				monitor.Publish(event)
			}
		}
	}
	return nil
}

// parks reports whether a dead entry stops its key.
func (p *NonOrdered) parks() bool {
	return p.lanes != nil && p.lanes.KeyPolicy() != reliable.KeySkip
}

// former reports whether a row in outbox_workers was this worker's, under a
// lease that it gave up.
func (p *NonOrdered) former(id string) bool {
	rest, ok := strings.CutPrefix(id, p.site.Worker+"-")
	return ok && len(rest) == idDigits
}

func readStrays(rows *sql.Rows) (found []stray, err error) {
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var c stray
		var ids string
		if err := rows.Scan(&c.token, &c.worker, &ids, &c.alone); err != nil {
			return nil, err
		}
		if c.ids, err = parseIDs(ids); err != nil {
			return nil, err
		}
		found = append(found, c)
	}
	return found, rows.Err()
}

func (p *NonOrdered) suspectAll(ctx context.Context, tx *sql.Tx, c *stray) error {
	if len(c.ids) == 0 {
		return nil
	}
	crashes := 0
	if c.alone {
		crashes = 1
	}
	ids := idList(p.dialect, c.ids)
	args := []any{ids, crashes, p.MaxCrashes}
	counted := []any{crashes, p.MaxCrashes, crashes, p.MaxCrashes, crashes, p.MaxCrashes, crashes}
	switch p.dialect {
	case "mysql":
		args = append([]any{ids}, counted...)
	case "sqlite":
		args = append(counted, ids)
	}
	if _, err := tx.ExecContext(ctx, p.q.suspect, args...); err != nil || !c.alone {
		return err
	}
	rows, err := tx.QueryContext(ctx, p.q.died, c.ids[0])
	if err != nil {
		return err
	}
	if c.died, err = readEntries(rows, 1, new(payload)); err != nil || len(c.died) == 0 {
		return err
	}
	after := p.q.unlane
	if p.parks() {
		after = p.q.park
	}
	_, err = tx.ExecContext(ctx, after, c.ids[0])
	return err
}

// orphan notes an entry that this binary does not cover, and tells of its kind
// when it is the first.
func (p *NonOrdered) orphan(ctx context.Context, tx *sql.Tx, e *reliable.OutboxEntry) {
	p.mu.Lock()
	_, known := p.orphans[e.Kind]
	p.orphans[e.Kind] = e
	p.mu.Unlock()
	if !known {
		p.countOrphan(ctx, tx, e)
	}
}

func (p *NonOrdered) countOrphan(ctx context.Context, tx *sql.Tx, e *reliable.OutboxEntry) {
	var n int
	if err := tx.QueryRowContext(ctx, p.q.countKind, e.Kind).Scan(&n); err != nil {
		p.trouble("count orphans", err)
		return
	}
	if n > 0 {
		p.site.Plugin.Monitor().Publish(&reliable.OrphansFound{
			Context: e.Context, ResourceClass: e.ResourceClass, EventName: e.EventName, Owed: e.Owed, Entries: n,
		})
	}
}

// countOrphans tells how many entries wait of each kind that is not covered.
func (p *NonOrdered) countOrphans(ctx context.Context, s *session) {
	p.mu.Lock()
	var kinds []*reliable.OutboxEntry
	for _, e := range p.orphans {
		kinds = append(kinds, e)
	}
	p.mu.Unlock()
	for _, e := range kinds {
		err := s.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
			p.countOrphan(ctx, tx, e)
			return nil
		})
		if err != nil {
			p.trouble("count orphans", err)
		}
	}
}
