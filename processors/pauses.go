package processors

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// heedEvery is how old what a claim knows of pauses may be.
const heedEvery = time.Second

// restraint is what Claim knows of work that may not run now. Entries that owe
// nothing else are left where they are: their kinds are named to the scans, as
// those are that this binary does not cover.
type restraint struct {
	*reliable.Admission
	heedAt time.Time // when to read the pauses again
	restTo time.Time // until when retries are not looked for: many are left alone
}

// heed reads what is paused, if that was too long ago.
func (p *NonOrdered) heed(ctx context.Context, tx *sql.Tx) error {
	if p.restraint.Admission == nil {
		p.restraint.Admission = p.site.Plugin.Admission()
	}
	if now := time.Now(); now.After(p.restraint.heedAt) {
		if err := p.readPauses(ctx, tx); err != nil {
			return err
		}
		p.restraint.heedAt = now.Add(heedEvery)
	}
	p.weigh()
	return nil
}

// weigh takes stock of what may run now. What may run again is looked for from
// the first entry on.
func (p *NonOrdered) weigh() {
	if p.restraint.Begin() {
		p.lowerMark(1)
		p.restraint.restTo = time.Time{}
		if p.lanes != nil {
			p.lanes.ring.forget()
		}
	}
}

// readPauses tells the plugin what is paused.
func (p *NonOrdered) readPauses(ctx context.Context, tx *sql.Tx) error {
	rows, err := tx.QueryContext(ctx, p.q.pauses)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	var pauses []reliable.Pause
	for rows.Next() {
		var pause reliable.Pause
		var at any
		if err := rows.Scan(&pause.Context, &pause.Model, &pause.Event, &pause.Callback, &pause.Reason, &at); err != nil {
			return err
		}
		if pause.At, err = timeOf(at); err != nil {
			return err
		}
		pauses = append(pauses, pause)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	p.site.Plugin.SetPauses(pauses)
	return nil
}

// leftAlone returns the kinds that scans don't read.
func (p *NonOrdered) leftAlone() []int64 {
	held := p.restraint.Kinds()
	if len(held) == 0 {
		return p.notCovered()
	}
	return append(held, p.notCovered()...)
}

// notCovered returns the kinds that claims leave alone.
func (p *NonOrdered) notCovered() []int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	kinds := make([]int64, 0, len(p.orphans))
	for kind := range p.orphans {
		if kind != 0 {
			kinds = append(kinds, kind)
		}
	}
	slices.Sort(kinds)
	return kinds
}

// slowScan is how long a scan for retries takes that passes over very many.
const slowScan = 20 * time.Millisecond

// scanned notes how long a scan for retries took. Those that pass over what is
// left alone, or take long and find few (what an old transaction elsewhere
// keeps), have no more than their share of the time.
func (p *NonOrdered) scanned(begun time.Time, few bool) {
	now := time.Now()
	if took := now.Sub(begun); len(p.restraint.Kinds()) > 0 || few && took > slowScan {
		p.restraint.restTo = now.Add(rescanShare * took)
	}
}

// admitted drops the entries that may not run now. They stay locked until the
// claim commits, and are not written.
func (p *NonOrdered) admitted(found []candidate) []candidate {
	return slices.DeleteFunc(found, func(c candidate) bool { return !p.restraint.Admits(c.entry) })
}
