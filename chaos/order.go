package chaos

import (
	"cmp"
	"maps"
	"slices"
)

// keyline is what the ledger says of the entries of one causality key.
type keyline struct {
	*judge
	key   string
	ids   []int64 // its entries, ascending: their order
	runs  []*Run  // of those, by start
	holds []*Hold // claims of those, by token
	at    map[int64]int
}

// order checks I3, and I4 for keys: the entries of a key are run by id, one at
// a time, by one worker at a time. All is told from intervals on the ledger's
// clock: a run is noted within its callback and a hold within the claim, so
// what is seen to overlap did overlap.
func (j *judge) order(runs map[int64][]*Run) {
	lines := make(map[string]*keyline)
	for i := range j.facts.Entries {
		e := &j.facts.Entries[i]
		if e.Key == "" {
			continue
		}
		k := lines[e.Key]
		if k == nil {
			k = &keyline{judge: j, key: e.Key, at: make(map[int64]int)}
			lines[e.Key] = k
		}
		k.ids = append(k.ids, e.ID)
		k.runs = append(k.runs, runs[e.ID]...)
	}
	for _, hold := range j.history.Holds {
		of := make(map[string]bool)
		for _, id := range hold.IDs {
			if e := j.entries[id]; e != nil && e.Key != "" && !of[e.Key] {
				of[e.Key] = true
				lines[e.Key].holds = append(lines[e.Key].holds, hold)
			}
		}
	}
	j.Keys = len(lines)
	for _, key := range slices.Sorted(maps.Keys(lines)) {
		k := lines[key]
		slices.Sort(k.ids)
		for i, id := range k.ids {
			k.at[id] = i
		}
		slices.SortFunc(k.holds, func(a, b *Hold) int { return cmp.Compare(a.Token, b.Token) })
		slices.SortStableFunc(k.runs, func(a, b *Run) int { return cmp.Compare(a.Start, b.Start) })
		k.owners()
		k.alone()
		k.tokens()
		k.durable()
		k.forward()
	}
}

// disorder notes a breach of I3.
func (k *keyline) disorder(format string, args ...any) {
	k.Disorders++
	k.fault("I3: key "+k.key+": "+format, args...)
}

// owners checks I4 for the key: no two claims have entries of it at a time
// while the earlier one's lease is valid. A claim surely has the key until it is
// about to give the last of its entries back, or until its lease is over.
func (k *keyline) owners() {
	type span struct {
		hold     *Hold
		from, to int64
	}
	var spans []span
	for _, hold := range k.holds {
		to := k.leases[hold.Token]
		last, all := int64(0), true
		for _, id := range hold.IDs {
			if _, ours := k.at[id]; ours {
				given, ok := hold.Given[id]
				all, last = all && ok, max(last, given)
			}
		}
		if all {
			to = min(to, last)
		}
		if hold.From < to {
			spans = append(spans, span{hold, hold.From, to})
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	for i := 1; i < len(spans); i++ {
		if a, b := spans[i-1], spans[i]; b.from < a.to {
			k.Overlaps++
			k.fault("I4: key %s was claimed under token %d by worker %d while worker %d held it under token %d",
				k.key, b.hold.Token, b.hold.Worker, a.hold.Worker, a.hold.Token)
		}
	}
}

// alone checks I4 for runs: no entry of the key runs while another one does, as
// long as the lease of the lower token is valid. The same entry's runs are
// overlaps' to check.
func (k *keyline) alone() {
	var last *Run // of all that started, the one that ends last
	for _, b := range k.runs {
		a := last
		if last == nil || b.End > last.End {
			last = b
		}
		if a == nil || a.Entry == b.Entry || b.Start >= a.End {
			continue
		}
		if older := min(a.Token, b.Token); a.Token == b.Token || b.Start < k.leases[older] {
			k.Overlaps++
			k.fault("I4: key %s: entry %d ran under token %d on worker %d while entry %d ran under token %d on worker %d",
				k.key, b.Entry, b.Token, b.Worker, a.Entry, a.Token, a.Worker)
		}
	}
}

// tokens checks that the key's tokens grow: what starts under a valid lease has
// no lower token than what started before.
func (k *keyline) tokens() {
	var highest *Run
	for _, r := range k.runs {
		if highest != nil && r.Token < highest.Token {
			if r.Start < k.leases[r.Token] {
				k.disorder("entry %d started under token %d after entry %d had under token %d", r.Entry, r.Token, highest.Entry, highest.Token)
			}
			continue
		}
		highest = r
	}
}

// durable checks that no entry is durably done before those that come before
// it: else a kill between the two runs the earlier one last.
func (k *keyline) durable() {
	begun := make(map[int64]int64) // by entry: when the first finish of it began
	ended := make(map[int64]int64) // by entry: when it surely was durably done
	for _, hold := range k.holds {
		for id, at := range hold.Finished {
			written, ok := hold.Written[id]
			if _, ours := k.at[id]; !ours || !ok {
				continue
			}
			if first, known := begun[id]; !known || written < first {
				begun[id], ended[id] = written, at
			}
		}
	}
	latest := int64(0) // begin of a finish of those before
	missing := int64(0)
	for _, id := range k.ids {
		at, done := ended[id]
		switch {
		case !done && missing == 0 && !k.settled(id):
			missing = id
		case done && missing != 0:
			k.disorder("entry %d was durably done, but entry %d before it never was seen to be", id, missing)
			return
		case done && latest > at:
			k.disorder("entry %d was durably done at %d, before one that comes before it: that was tried at %d first", id, at, latest)
			return
		}
		latest = max(latest, begun[id])
	}
}

// settled reports whether the tables say that an entry is over, though the
// ledger may not: the worker was killed before it noted that.
func (k *keyline) settled(id int64) bool {
	e := k.entries[id]
	return e.Done || e.Dead && k.facts.Skip > 0
}
