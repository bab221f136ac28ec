package chaos

import (
	"cmp"
	"slices"
)

// forward checks I3 for runs: when an entry starts, all before it in its key
// are done. What is done in the same claim was run in it before; of the rest it
// must be durable before the claim. So after a kill or a lost lease a key goes
// back to its first entry that is not durable, and runs forward from there.
//
// Runs are taken by token, not by time: what a worker that lost its lease
// still does is not seen by the next one, and must not be.
func (k *keyline) forward() {
	runs := slices.Clone(k.runs)
	slices.SortStableFunc(runs, func(a, b *Run) int { return cmp.Compare(a.Token, b.Token) })
	last := make(map[int64]map[string]*Run) // by entry and callback
	var before *Run
	for _, r := range runs {
		k.back(before, r)
		hold := k.history.Holds[r.Token]
		for _, id := range k.ids[:k.at[r.Entry]] {
			if hold != nil && !k.over(id, r, hold, last[id]) {
				break // one fault for a run
			}
		}
		if last[r.Entry] == nil {
			last[r.Entry] = make(map[string]*Run)
		}
		last[r.Entry][r.Callback], before = r, r
	}
}

// back checks that a key goes back for a reason only: the worker that ran the
// later entry was killed, or lost its lease.
func (k *keyline) back(before, r *Run) {
	if before == nil || r.Entry >= before.Entry {
		return
	}
	hold := k.history.Holds[before.Token]
	if before.Token == r.Token {
		k.disorder("entry %d started after entry %d, both under token %d", r.Entry, before.Entry, r.Token)
	} else if hold != nil {
		if _, ok := k.cause(hold); !ok {
			k.disorder("entry %d started under token %d after entry %d under token %d: worker %d did not lose that lease",
				r.Entry, r.Token, before.Entry, before.Token, before.Worker)
		}
	}
}

// over checks that an entry was over when a later one of its key started.
func (k *keyline) over(id int64, r *Run, hold *Hold, last map[string]*Run) bool {
	e, token := k.entries[id], int64(-1)
	for _, callback := range e.Owed {
		run := last[callback]
		if run == nil {
			continue
		}
		if token = max(token, run.Token); run.End > r.Start {
			k.disorder("entry %d started under token %d at %d, before %s had ended for entry %d", r.Entry, r.Token, r.Start, callback, id)
			return false
		}
	}
	if at, gone := k.history.Discarded[id]; gone && at <= r.Start || k.crashed(e) {
		return true
	}
	for _, callback := range e.Owed {
		if run := last[callback]; run == nil || run.Result != "ok" && !k.skips(run) {
			k.disorder("entry %d started under token %d at %d, before %s succeeded for entry %d", r.Entry, r.Token, r.Start, callback, id)
			return false
		}
	}
	switch held := slices.Contains(hold.IDs, id); {
	case held && token != r.Token:
		k.disorder("entry %d started under token %d at %d, before entry %d was run again under it", r.Entry, r.Token, r.Start, id)
		return false
	case !held && !k.written(id, r):
		k.disorder("entry %d started under token %d at %d, before entry %d was durable", r.Entry, r.Token, r.Start, id)
		return false
	}
	return true
}

// skips reports whether a key goes on after a run that failed.
func (k *keyline) skips(r *Run) bool {
	return k.facts.Skip > 0 && r.Result == "failed" && r.Attempt >= k.facts.Skip
}

// crashed reports whether a key goes on without an entry that a rescue let die:
// of when, nothing is noted.
func (k *keyline) crashed(e *EntryFact) bool {
	return k.facts.Skip > 0 && e.Dead && e.Crashes >= k.facts.MaxCrashes
}

// written reports whether, under a lower token and before that claim was there,
// somebody was about to make an entry's success durable.
func (k *keyline) written(id int64, r *Run) bool {
	for _, hold := range k.holds {
		if at, ok := hold.Written[id]; ok && hold.Token < r.Token && at <= k.history.Holds[r.Token].From {
			return true
		}
	}
	return false
}
