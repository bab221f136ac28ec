package proof

import (
	"cmp"
	"fmt"
	"slices"
)

// Verdict is what Judge found.
type Verdict struct {
	Committed  int      // changes in the log
	Replayed   int      // entries in the ledger all of whose owed callbacks ran to their end
	Lost       int      // changes that no such entry stands for
	Phantom    int      // entries in the ledger that no change stands for
	Duplicates int      // runs to the end, beyond the first, of the same callback for the same entry
	Faults     []string // a line for each kind of change that was lost or is phantom
}

// OK reports whether every change that committed was replayed, and no other.
func (v Verdict) OK() bool { return v.Lost == 0 && v.Phantom == 0 && v.Committed == v.Replayed }

// String returns the verdict in one line.
func (v Verdict) String() string {
	return fmt.Sprintf("committed=%d replayed=%d lost=%d phantom=%d duplicates=%d", v.Committed, v.Replayed, v.Lost, v.Phantom, v.Duplicates)
}

// entry is what the ledger tells of one entry of the outbox.
type entry struct {
	change Change
	ran    map[string]int // runs to the end, by callback
	wrong  string         // why no change can stand for it
}

// tally counts what there is of one change: the same model, row and kind of
// operation.
type tally struct{ logged, seen, complete int }

// Judge compares the log of what committed with the ledger of what ran. owed
// says which callbacks a change owes; it must not ask the outbox.
//
// A row may be updated many times, and neither side numbers these updates. So
// changes are matched as multisets: for each triple of model, primary key and
// kind of operation, the log has some number of changes, and the ledger some
// number of distinct entry ids. The numbers must be equal, and each of these
// entries must have run all that is owed. What the log has more is lost, what
// the ledger has more is phantom; more of one row never makes up for less of
// another. A soft delete is a destroy on both sides. An entry that ran what it
// does not owe, or that names two changes, is phantom as a whole.
func Judge(changes []Change, runs []Run, owed func(Change) []string) Verdict {
	v := Verdict{Committed: len(changes)}
	tallies := make(map[Change]*tally)
	of := func(c Change) *tally {
		if tallies[c] == nil {
			tallies[c] = new(tally)
		}
		return tallies[c]
	}
	for _, c := range changes {
		of(c).logged++
	}
	for id, e := range entries(runs, owed) {
		for _, n := range e.ran {
			v.Duplicates += max(n-1, 0)
		}
		if e.wrong != "" {
			v.Phantom++
			v.Faults = append(v.Faults, fmt.Sprintf("phantom: entry %d: %s", id, e.wrong))
			continue
		}
		t := of(e.change)
		t.seen++
		if e.complete(owed(e.change)) {
			t.complete++
			v.Replayed++
		}
	}
	for c, t := range tallies {
		lost, phantom := max(t.logged-t.complete, 0), max(t.seen-t.logged, 0)
		v.Lost += lost
		v.Phantom += phantom
		if lost+phantom > 0 {
			v.Faults = append(v.Faults, fmt.Sprintf("%s %s %s: %d committed, %d entries ran, %d of them to the end", c.Class, c.ID, c.Operation, t.logged, t.seen, t.complete))
		}
	}
	slices.Sort(v.Faults)
	return v
}

// entries gathers the runs by entry.
func entries(runs []Run, owed func(Change) []string) map[int64]*entry {
	found := make(map[int64]*entry)
	for _, r := range runs {
		change := Change{Class: r.Class, ID: r.ID, Operation: r.Operation}
		e := found[r.Entry]
		if e == nil {
			e = &entry{change: change, ran: make(map[string]int)}
			found[r.Entry] = e
		}
		switch {
		case e.change != change:
			e.wrong = cmp.Or(e.wrong, fmt.Sprintf("ran for %v and for %v", e.change, change))
		case !slices.Contains(owed(change), r.Callback):
			e.wrong = cmp.Or(e.wrong, fmt.Sprintf("%s %s %s does not owe %q", change.Class, change.ID, change.Operation, r.Callback))
		}
		if r.Outcome == Done {
			e.ran[r.Callback]++
		}
	}
	return found
}

// complete reports whether every callback that is owed ran to its end.
func (e *entry) complete(owed []string) bool {
	for _, name := range owed {
		if e.ran[name] == 0 {
			return false
		}
	}
	return len(owed) > 0
}
