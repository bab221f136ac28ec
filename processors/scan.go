package processors

import (
	"context"
	"database/sql"
	"time"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// fresh scans for entries above from that were never tried.
func (p *NonOrdered) fresh(ctx context.Context, tx *sql.Tx, from int64, n int) ([]candidate, error) {
	alone := p.leftAlone()
	begun := time.Now()
	var end sql.NullInt64
	if p.lanes != nil { // most entries may have a key: the next scan begins above those, too
		if err := tx.QueryRowContext(ctx, p.q.highest).Scan(&end); err != nil {
			return nil, err
		}
	}
	entries, err := p.scan(ctx, tx, p.q.fresh, n, freshArgs(p.dialect, from, alone, n))
	if err != nil {
		return nil, err
	}
	found := p.runnable(ctx, tx, entries, false)
	last := from
	full := len(entries) == n || p.payload.left <= 0
	if len(entries) > 0 {
		last = entries[len(entries)-1].ID
	}
	if !full {
		last = max(last, end.Int64)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frontier.scanned(from, last, full, begun)
	p.frontier.whole = len(alone) == 0 && len(found) == len(entries)
	return found, nil
}

// freshArgs are those of the query fresh: alone are kinds that it passes over.
func freshArgs(dialect string, from int64, alone []int64, n int) []any {
	if dialect == "postgres" {
		return []any{from, idList(dialect, alone), n}
	}
	return []any{from, idList(dialect, alone), from, n}
}

// retries scans for entries whose next attempt is due, or for suspects.
func (p *NonOrdered) retries(ctx context.Context, tx *sql.Tx, suspects bool, n int) ([]candidate, error) {
	begun := time.Now()
	entries, err := p.scan(ctx, tx, p.q.retries, n, []any{suspects, idList(p.dialect, p.leftAlone()), n})
	if err != nil {
		return nil, err
	}
	p.scanned(begun, len(entries) < n/2)
	return p.runnable(ctx, tx, entries, suspects), nil
}

// scan reads up to n entries.
func (p *NonOrdered) scan(ctx context.Context, tx *sql.Tx, query string, n int, args []any) ([]*reliable.OutboxEntry, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return readEntries(rows, n, &p.payload)
}

// runnable leaves out what this binary does not cover and what may not run now.
func (p *NonOrdered) runnable(ctx context.Context, tx *sql.Tx, entries []*reliable.OutboxEntry, suspects bool) []candidate {
	found := make([]candidate, 0, len(entries))
	registry := p.site.Plugin.Registry()
	for _, e := range entries {
		if !registry.Covers(e) {
			p.orphan(ctx, tx, e)
			continue
		}
		found = append(found, candidate{e, suspects})
	}
	return p.admitted(found)
}

// start returns the id above which to look for fresh entries.
func (p *NonOrdered) start(ctx context.Context, tx *sql.Tx, now time.Time) (int64, error) {
	p.mu.Lock()
	above := p.frontier.mark
	p.mu.Unlock()
	var shared int64
	if err := tx.QueryRowContext(ctx, p.q.frontier, above).Scan(&shared); err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.frontier.start(now, shared), nil
}

func (p *NonOrdered) mayRescan(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return now.After(p.frontier.rescanAt)
}

// lowerMark lets the next claims see entries again that were given back.
func (p *NonOrdered) lowerMark(id int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frontier.lower(id)
}

// shared returns how far this worker's last scan left nothing to others.
func (p *NonOrdered) shared() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.frontier.whole {
		return 0
	}
	return p.frontier.mark
}
