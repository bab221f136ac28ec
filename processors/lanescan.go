package processors

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

const (
	loosePause = 50 * time.Millisecond // that entries without a key are not looked for when there were none, while there are others,
	looseShare = 20                    // and at least so many times as long as the look took
)

// laneRow is an entry of a lane as a read finds it.
type laneRow struct {
	entry   *reliable.OutboxEntry
	lane    int
	due     bool // it may run by its time
	suspect bool
	dead    bool // parked: it blocks its key until an operator decides
	held    bool // it stands in a claim, or its key is in work
}

// find locks what is due: entries of own lanes, key by key, and entries without
// a key; or a suspect of either.
func (l *lanes) find(ctx context.Context, tx *sql.Tx, n int) ([]candidate, error) {
	p := &l.base
	now := time.Now()
	look := now.After(l.looseAt) && (n > 1 || !l.hadTurn) // a claim of one has one of either, by turns
	loose := 0
	switch {
	case look && l.loose:
		loose = max(n/4, 1)
	case look:
		loose = 1
	}
	s := selection{lanes: l, most: max(n-loose, 1), tenants: l.tenants()}
	for _, kind := range p.leftAlone() {
		s.leave(kind)
	}
	if len(l.ring.lanes) > 0 {
		if err := l.hold(ctx, tx); err != nil {
			return nil, err
		}
		var err error
		if s.busy, err = l.keys(ctx, tx); err != nil {
			return nil, err
		}
		if err := s.read(ctx, tx, now); err != nil {
			return nil, err
		}
	}
	alone, err := s.alone()
	if alone != nil || err != nil {
		return alone, err
	}
	l.hadTurn = false
	if p.payload.left > 0 && (len(s.found) == 0 || look) {
		begun := time.Now()
		others, err := p.findLoose(ctx, tx, max(n-len(s.found), 1))
		if err != nil {
			return nil, err
		}
		if len(others) > 0 && others[0].suspect {
			return others, nil
		}
		if l.loose, l.hadTurn = len(others) > 0, len(others) > 0; !l.loose {
			l.looseAt = now.Add(max(loosePause, looseShare*time.Since(begun)))
		}
		if len(s.found)+len(others) > n { // of a claim of one: the cursors stay where they are
			return others, nil
		}
		s.found = append(s.found, others...)
	}
	s.settle(ctx, tx)
	return s.found, nil
}

// tenants counts the entries that this worker holds, by tenant.
func (l *lanes) tenants() map[string]int {
	if l.Tenant == nil {
		return nil
	}
	held := make(map[string]int)
	l.base.unfinished(func(e *reliable.OutboxEntry) { held[l.Tenant(e)]++ })
	return held
}

// selection takes what may run from one read of the lanes.
type selection struct {
	*lanes
	most    int
	tenants map[string]int
	busy    map[string]bool // keys in work
	left    map[int64]bool  // kinds that are left alone

	found    []candidate
	suspects []candidate // the first one that is the head of its key
	orphans  []*reliable.OutboxEntry
	moves    []move // of cursors, when all is settled
	looked   int    // lanes whose rows were looked at
	asked    int    // lanes whose rows were counted
	filled   int    // those of them that had any; 0 if not all was read
	passed   int    // those that had something before their cursors
	least    int    // what these have at least, up to most of a lane
}

// move is what a read of a lane came to.
type move struct {
	lane        int
	last        string
	ended, idle bool
}

func (s *selection) leave(kind int64) {
	if s.left == nil {
		s.left = make(map[int64]bool)
	}
	s.left[kind] = true
}

// read reads the next entries of the worker's lanes and selects among them.
func (s *selection) read(ctx context.Context, tx *sql.Tx, now time.Time) error {
	if s.returned.Swap(false) { // what stands far behind the first of its key may come back again
		s.ring.filled = 0
	}
	count, each := s.ring.size(s.most)
	asked := s.ring.lanes[:count]
	after := make([]string, count)
	for i, lane := range asked {
		after[i] = s.ring.after(lane, now)
	}
	rows, err := s.q.read(ctx, tx, asked, after, each, &s.base.payload)
	if err != nil {
		return err
	}
	whole := s.base.payload.left > 0
	for i, lane := range asked {
		end := 0
		for end < len(rows) && rows[end].lane == lane {
			rows[end].held = rows[end].held || s.busy[rows[end].entry.CausalityKey]
			end++
		}
		s.asked = i + 1
		switch {
		case !whole:
		case end > 0:
			s.filled++
			if s.least += end; end == each { // there may be any number
				s.least += s.most
			}
		case after[i] != "":
			s.passed++
		}
		cut := len(rows) == end && !whole // what else there is of this lane, and of the next ones, was not read
		if cut && end == 0 {
			return nil
		}
		s.looked = i + 1
		if !s.choose(lane, rows[:end], cut || end == each) || cut {
			return nil
		}
		rows = rows[end:]
	}
	return nil
}

// choose takes what may run of a lane's rows, which are by key and id. cut says
// that there may be more rows than these. It reports whether there is room for
// more.
func (s *selection) choose(lane int, rows []laneRow, cut bool) bool {
	before := len(s.found)
	for begin := 0; begin < len(rows); {
		end := begin + 1
		for end < len(rows) && rows[end].entry.CausalityKey == rows[begin].entry.CausalityKey {
			end++
		}
		s.chain(rows[begin:end])
		if begin = end; len(s.found) >= s.most && begin < len(rows) {
			s.moves = append(s.moves, move{lane: lane, last: rows[begin-1].entry.CausalityKey})
			return false
		}
	}
	m := move{lane: lane, ended: !cut, idle: len(s.found) == before && !slices.ContainsFunc(rows, func(r laneRow) bool { return r.held || r.suspect })}
	if cut {
		m.last = rows[len(rows)-1].entry.CausalityKey
	}
	s.moves = append(s.moves, m)
	return len(s.found) < s.most
}

// chain takes what may run of one key: its entries from the head on, up to the
// first that may not. A key of which anything is in work gives nothing.
func (s *selection) chain(rows []laneRow) {
	if slices.ContainsFunc(rows, func(r laneRow) bool { return r.held }) {
		return
	}
	registry := s.site.Plugin.Registry()
	for i, r := range rows {
		e := r.entry
		switch {
		case r.dead, !r.due, s.left[e.Kind], len(s.found) >= s.most:
			return
		case !registry.Covers(e):
			s.orphans = append(s.orphans, e)
			return
		case r.suspect:
			if i == 0 && len(s.suspects) == 0 {
				s.suspects = []candidate{{e, true}}
			}
			return
		case !s.base.restraint.Admits(e), !s.room(e):
			return
		}
		s.found = append(s.found, candidate{entry: e})
	}
}

// room reports whether the entry's tenant may have another one in work, and
// counts it.
func (s *selection) room(e *reliable.OutboxEntry) bool {
	if s.Tenant == nil || s.TenantCap == 0 {
		return true
	}
	tenant := s.Tenant(e)
	if tenant != "" && s.tenants[tenant] >= s.TenantCap {
		return false
	}
	s.tenants[tenant]++
	return true
}

// alone returns a suspect that is due, if it is its turn or nothing else is
// found; [errCompany] if other entries run. The cursors stay where they are.
func (s *selection) alone() ([]candidate, error) {
	p := &s.base
	turn := !p.wasSuspect
	if len(s.suspects) == 0 || !turn && len(s.found) > 0 {
		return nil, nil
	}
	if p.held() > 0 && time.Now().After(p.crowdedTo) {
		return nil, errCompany
	}
	p.wasSuspect = true
	return s.suspects, nil
}

// settle moves the cursors on, and tells of what this binary does not cover.
func (s *selection) settle(ctx context.Context, tx *sql.Tx) {
	for _, m := range s.moves {
		s.ring.passed(m.lane, m.last, m.ended, m.idle)
	}
	s.ring.turn(s.looked)
	if s.filled == 0 {
		s.filled = s.passed
	}
	s.ring.asked, s.ring.filled, s.ring.least = s.asked, s.filled, s.least
	for _, e := range s.orphans {
		s.base.orphan(ctx, tx, e)
	}
}
