package outbox

import (
	"reflect"
	"slices"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// How many rows one statement of a scan looks at.
const (
	windowRows = 10_000 // in the order of ids
	chunkIDs   = 500    // by ids
)

// scan reads entries that pass a filter, window by window: a window is a few
// thousand rows in the order of ids, so that no statement takes long however
// few of them pass.
type scan struct {
	db       *gorm.DB
	plugin   *reliable.Plugin
	tables   reliable.Tables
	registry *reliable.Registry
	f        Filter
	brief    bool

	now   time.Time        // the database's, as it was at the beginning
	held  map[int64]string // ids of what workers hold, and by whom
	ids   []int64          // in order, if byIDs
	byIDs bool             // only these may pass
	many  bool             // more than MaxLooked are in the filter's state
	after int64            // everything up to this id was looked at
}

// prepare asks what holds for the whole scan.
func (s *scan) prepare() (err error) {
	if s.now, s.held, err = selectHeld(s.db, s.tables); err != nil {
		return err
	}
	switch {
	case len(s.f.IDs) > 0:
		s.ids, s.byIDs = slices.Clone(s.f.IDs), true
	case s.f.Key != "" && s.f.State != Dead:
		return nil // the index _lane serves it
	case s.f.State == Held:
		for id := range s.held {
			s.ids = append(s.ids, id)
		}
		s.byIDs = true
	case s.f.State == Dead && s.db.Name() != "mysql":
		return nil // the index _dead serves it, which is in the order of ids
	case s.f.State == Dead, s.f.State == Waiting, s.f.State == Parked:
		ids, err := selectCandidates(s.db, s.tables, s.f.State, s.after, MaxLooked+1)
		if err != nil {
			return err
		}
		// Too many: they are everywhere in the table, and soon found there.
		if s.many = len(ids) > MaxLooked; !s.many {
			s.ids, s.byIDs = ids, true
		}
	}
	slices.Sort(s.ids)
	s.ids = slices.Compact(s.ids)
	return nil
}

// page returns the next entries, up to limit, and looks at about so many rows
// at most.
func (s *scan) page(limit, most int) (Page, error) {
	page := Page{Entries: []Entry{}}
	for spent := 0; ; {
		if spent >= most {
			page.Bounded, page.Next = true, s.after
			return page, nil
		}
		w, err := s.window()
		if err != nil || w.rows == 0 {
			return page, err
		}
		page.Looked += w.rows
		spent += w.cost()
		if s.f.State == Orphan && !s.byIDs {
			some, err := s.anyOrphan(w)
			if err != nil {
				return page, err
			}
			if !some {
				s.after = w.last
				continue
			}
		}
		for whole := false; !whole; {
			var found []Entry
			if found, whole, err = s.read(w); err != nil {
				return page, err
			}
			for _, e := range found {
				if !s.passes(&e) {
					continue
				}
				page.Entries = append(page.Entries, e)
				if len(page.Entries) >= limit {
					s.after = e.ID
					page.Next, err = s.more()
					return page, err
				}
			}
		}
		s.after = w.last
	}
}

// count counts what is left, up to limit unless that is 0, and looks at
// MaxLooked rows at most. Rows are not sent where the database can tell alone.
func (s *scan) count(limit int) (c Count, err error) {
	if alike := (Filter{State: s.f.State, After: s.f.After, Limit: limit}); s.many && reflect.DeepEqual(s.f, alike) {
		if limit > 0 && limit <= MaxLooked {
			return Count{N: int64(limit)}, nil
		}
		return Count{N: MaxLooked, AtLeast: true}, nil
	}
	all := false
	for looked := 0; ; {
		if looked >= MaxLooked {
			c.AtLeast = true
			return c, nil
		}
		if s.alone() {
			w, err := s.window()
			if err != nil || w.rows == 0 {
				return c, err
			}
			n, err := s.selectCount(w)
			if err != nil {
				return c, err
			}
			c.N += n
			looked += w.cost()
			s.after = w.last
		} else {
			page, err := s.page(MaxPage, MaxLooked-looked)
			if err != nil {
				return c, err
			}
			c.N += int64(len(page.Entries))
			if looked += page.Looked; page.Bounded {
				looked = MaxLooked
			}
			all = page.Next == 0
		}
		if limit > 0 {
			c.N = min(c.N, int64(limit))
		}
		if all || limit > 0 && c.N == int64(limit) {
			return c, nil
		}
	}
}

// alone reports whether the database can tell what passes.
func (s *scan) alone() bool {
	return s.f.State != Eligible && s.f.State != Waiting && s.f.State != Held && s.f.State != Parked && s.f.State != Orphan
}

// more returns from where to go on, 0 if there is nothing.
func (s *scan) more() (int64, error) {
	w, err := s.window()
	if err != nil || w.rows == 0 {
		return 0, err
	}
	return s.after, nil
}

// window is a range of rows to look at.
type window struct {
	ids  []int64 // only these, if the scan goes by ids
	last int64   // the highest id
	rows int     // 0 at the end
}

// cost is how many rows in the order of an index take as long.
func (w window) cost() int {
	if w.ids != nil {
		return 5 * w.rows // each is somewhere else
	}
	return w.rows
}

// window returns what is next to look at.
func (s *scan) window() (window, error) {
	if !s.byIDs {
		return selectWindow(s.db, s.tables, s.f, s.after)
	}
	at, found := slices.BinarySearch(s.ids, s.after)
	if found {
		at++
	}
	ids := s.ids[at:min(at+chunkIDs, len(s.ids))]
	if len(ids) == 0 {
		return window{}, nil
	}
	return window{ids: ids, last: ids[len(ids)-1], rows: len(ids)}, nil
}

// read returns what passes in a window after s.after, by id, and whether that
// is all of it; if not, it moves s.after.
func (s *scan) read(w window) (found []Entry, whole bool, err error) {
	if found, err = s.selectEntries(w, chunkIDs); err != nil {
		return nil, false, err
	}
	slices.SortFunc(found, func(a, b Entry) int { return int(min(max(a.ID-b.ID, -1), 1)) })
	if whole = w.ids != nil || len(found) < chunkIDs; !whole {
		s.after = found[len(found)-1].ID
	}
	return found, whole, nil
}

// anyOrphan reports whether there is one in a window: the database tells what
// kinds there are, so that not every row is sent.
func (s *scan) anyOrphan(w window) (bool, error) {
	where, args := s.bounds(w)
	kinds, err := selectWindowKinds(s.db, s.tables, where, args)
	return slices.ContainsFunc(kinds, func(k Kind) bool { return !k.covered(s.registry) }), err
}

// passes gives an entry its state, and holds it against what the database can't
// be asked.
func (s *scan) passes(e *Entry) bool {
	worker, held := s.held[e.ID]
	switch {
	case e.State != "": // dead or parked
	case held:
		e.State, e.Worker = Held, worker
	case e.RetryAt != nil && e.RetryAt.After(s.now):
		e.State = Waiting
	default:
		e.State = Eligible
	}
	e.Orphan = !s.registry.Empty() && !s.registry.Covers(&reliable.OutboxEntry{Context: e.Context, ResourceClass: e.Model, EventName: e.Event, Owed: e.Owed})
	switch s.f.State {
	case Eligible, Waiting, Held, Parked:
		return e.State == s.f.State
	case Orphan:
		return e.Orphan
	default:
		return true
	}
}
