package chaos

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Facts is what a ledger is held against.
type Facts struct {
	LeaseTTL   time.Duration
	MaxCrashes int
	Bound      int         // entries that may run again after one kill or lost lease
	Skip       int         // failures of a callback after which its entry is dead, and its key goes on; 0: it does not go on
	Entries    []EntryFact // all that are in the tables at the end
}

// EntryFact is what became of an entry.
type EntryFact struct {
	ID       int64
	Key      string // empty: it is not ordered
	Owed     []string
	Attempts int
	Crashes  int
	Done     bool // it is in the history
	Dead     bool
}

// Report is what a check found. Faults are breaches of the promise, each with
// the invariant's name: I2 and so on, as in the package comment.
type Report struct {
	Entries    int
	Lost       int
	Phantom    int
	Overlaps   int
	Keys       int            // that are ordered
	Disorders  int            // breaches of I3
	Duplicates map[string]int // entries that ran again, by what caused that
	Terminated int            // callbacks that ran again after a worker that ended as it was asked to
	Faults     []string
}

// fault notes a breach.
func (r *Report) fault(format string, args ...any) {
	r.Faults = append(r.Faults, fmt.Sprintf(format, args...))
}

// judge is one check.
type judge struct {
	Report
	history *History
	facts   Facts
	entries map[int64]*EntryFact
	leases  map[int64]int64 // by token
}

// Check holds a ledger and the tables at the end of a round against the
// promise.
func Check(h *History, f Facts) *Report {
	j := &judge{
		Report: Report{Entries: len(f.Entries), Duplicates: make(map[string]int)}, history: h, facts: f,
		entries: make(map[int64]*EntryFact, len(f.Entries)), leases: make(map[int64]int64, len(h.Holds)),
	}
	for i := range f.Entries {
		j.entries[f.Entries[i].ID] = &f.Entries[i]
	}
	for token := range h.Holds {
		j.leases[token] = h.Lease(token, f.LeaseTTL)
	}
	runs := make(map[int64][]*Run)
	for _, r := range h.Runs {
		runs[r.Entry] = append(runs[r.Entry], r)
	}
	j.complete(runs)
	j.claims()
	again := make(map[string]map[int64]bool)
	for _, id := range slices.Sorted(maps.Keys(runs)) {
		j.overlaps(runs[id])
		j.repeats(runs[id], again)
	}
	for _, cause := range slices.Sorted(maps.Keys(again)) {
		n := len(again[cause])
		if j.Duplicates[cause] = n; n > f.Bound {
			j.fault("I5: %d entries ran again after %s: want at most %d", n, cause, f.Bound)
		}
	}
	j.order(runs)
	j.counters(runs)
	return &j.Report
}

// complete checks I2: every entry is done or dead, none is done whose callbacks
// did not all succeed, and none ran that is not there.
func (j *judge) complete(runs map[int64][]*Run) {
	for i := range j.facts.Entries {
		e := &j.facts.Entries[i]
		if !e.Done && !e.Dead {
			j.Lost++
			j.fault("I2: entry %d is neither done nor dead", e.ID)
			continue
		}
		if _, gone := j.history.Discarded[e.ID]; gone {
			continue
		}
		for _, callback := range e.Owed {
			if e.Done && !slices.ContainsFunc(runs[e.ID], func(r *Run) bool { return r.Callback == callback && r.Result == "ok" }) {
				j.Lost++
				j.fault("I2: entry %d is done, but %s never succeeded", e.ID, callback)
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(runs)) {
		if j.entries[id] == nil {
			j.Phantom++
			j.fault("I1: %s ran for entry %d, which is not there", runs[id][0].Callback, id)
		}
	}
}

// claims checks I4 for what is held: no entry by two workers at a time while
// the earlier lease is valid. A worker surely holds an entry from when its claim
// came back until it begins to finish or release it, or until its lease is over.
func (j *judge) claims() {
	type span struct {
		hold     *Hold
		from, to int64
	}
	spans := make(map[int64][]span)
	for _, hold := range j.history.Holds {
		for _, id := range hold.IDs {
			to := j.leases[hold.Token]
			if given, ok := hold.Given[id]; ok {
				to = min(to, given)
			}
			if hold.From < to {
				spans[id] = append(spans[id], span{hold, hold.From, to})
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(spans)) {
		held := spans[id]
		slices.SortFunc(held, func(a, b span) int { return cmp.Compare(a.from, b.from) })
		for i := 1; i < len(held); i++ {
			if before := held[i-1]; held[i].from < before.to {
				j.Overlaps++
				j.fault("I4: entry %d was claimed under token %d by worker %d while worker %d held it under token %d",
					id, held[i].hold.Token, held[i].hold.Worker, before.hold.Worker, before.hold.Token)
			}
		}
	}
}

// overlaps checks I4 for the runs of an entry: no two at the same time while
// the lease of the lower token was valid.
func (j *judge) overlaps(runs []*Run) {
	for i, a := range runs {
		hold := j.history.Holds[a.Token]
		if hold == nil || hold.Worker != a.Worker || !slices.Contains(hold.IDs, a.Entry) {
			j.fault("I4: worker %d ran entry %d under token %d without holding it", a.Worker, a.Entry, a.Token)
		}
		for _, b := range runs[i+1:] { // by start
			older := a
			if b.Token < a.Token {
				older = b
			}
			if b.Start < a.End && (a.Token == b.Token || b.Start < j.leases[older.Token]) {
				j.Overlaps++
				j.fault("I4: entry %d ran under token %d on worker %d while it ran under token %d on worker %d",
					a.Entry, b.Token, b.Worker, a.Token, a.Worker)
			}
		}
	}
}
