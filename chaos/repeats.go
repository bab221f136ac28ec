package chaos

import (
	"cmp"
	"fmt"
	"slices"
)

// repeats checks I5: a callback runs again only for a reason. A failure that
// is durable is one: then the attempt's number is the next one. All else are
// duplicates. They go to again, by what caused them and by entry.
func (j *judge) repeats(runs []*Run, again map[string]map[int64]bool) {
	last := make(map[string]*Run)
	runs = slices.Clone(runs)
	slices.SortStableFunc(runs, func(a, b *Run) int { return cmp.Compare(a.Token, b.Token) })
	for _, r := range runs {
		before := last[r.Callback]
		last[r.Callback] = r
		switch {
		case before == nil:
			if r.Attempt != 1 {
				j.fault("I6: the first run of %s for entry %d is attempt %d", r.Callback, r.Entry, r.Attempt)
			}
			continue
		case before.Token == r.Token:
			j.fault("I5: %s ran twice for entry %d under token %d", r.Callback, r.Entry, r.Token)
			continue
		case before.Result == "failed" && (r.Attempt == before.Attempt+1 || r.Attempt == 1 && j.retried(r.Entry, before.End, r.Start)):
			continue
		case r.Attempt != before.Attempt:
			j.fault("I6: %s for entry %d ran as attempt %d after attempt %d (%s)", r.Callback, r.Entry, r.Attempt, before.Attempt, before.Result)
		}
		hold := j.history.Holds[before.Token]
		if hold == nil {
			continue // told by overlaps
		}
		if at, ok := hold.Finished[r.Entry]; ok {
			j.fault("I5: %s ran for entry %d under token %d at %d, after it was durably done under token %d at %d",
				r.Callback, r.Entry, r.Token, r.Start, before.Token, at)
		}
		cause, ok := j.cause(hold)
		if !ok {
			j.Terminated++
			j.fault("I5: %s ran again for entry %d under token %d: worker %d, %s, did not lose its lease under token %d",
				r.Callback, r.Entry, r.Token, hold.Worker, j.end(hold.Worker), hold.Token)
			continue
		}
		if again[cause] == nil {
			again[cause] = make(map[int64]bool)
		}
		again[cause][r.Entry] = true
	}
}

// retried reports whether an operator let an entry begin anew between two times.
func (j *judge) retried(id, from, to int64) bool {
	at, ok := j.history.Retried[id]
	return ok && from <= at && at <= to
}

// cause returns why what a worker held may run again: it lost that lease while
// it lived, or it was killed.
func (j *judge) cause(hold *Hold) (string, bool) {
	until := j.leases[hold.Token]
	exit, ended := j.history.Exits[hold.Worker]
	beats := j.history.Beats[hold.Worker]
	switch {
	case len(beats) > 0 && beats[len(beats)-1] > until, ended && exit.At > until:
		return fmt.Sprintf("worker %d lost the lease that lasted to %d", hold.Worker, until), true
	case !ended, exit.How == "clean":
		return "", false
	default:
		return fmt.Sprintf("worker %d ended %s", hold.Worker, exit.How), true
	}
}

func (j *judge) end(worker int) string {
	exit, ok := j.history.Exits[worker]
	if !ok {
		return "which lives"
	}
	return "which ended " + exit.How
}

// counters checks I6: what the tables count is what the ledger shows.
func (j *judge) counters(runs map[int64][]*Run) {
	lost := make(map[int64]int) // by entry: claims of it alone whose worker was gone
	for _, hold := range j.history.Holds {
		if len(hold.IDs) != 1 {
			continue
		}
		if _, gone := j.cause(hold); gone {
			lost[hold.IDs[0]]++
		}
	}
	blind := j.history.Blind // nobody knows of which entries
	for i := range j.facts.Entries {
		e := &j.facts.Entries[i]
		if more := e.Crashes - lost[e.ID]; more > 0 {
			if blind -= more; blind < 0 {
				j.fault("I6: entry %d counts %d crashes; a worker was gone while it held that entry alone %d times", e.ID, e.Crashes, lost[e.ID])
			}
		}
		if _, anew := j.history.Retried[e.ID]; anew {
			continue // its attempts are counted from there
		}
		highest, failed := make(map[string]int), make(map[string]int)
		for _, r := range runs[e.ID] {
			highest[r.Callback] = max(highest[r.Callback], r.Attempt)
			if r.Result == "failed" {
				failed[r.Callback] = max(failed[r.Callback], r.Attempt)
			}
		}
		least, most := 0, 0
		for callback, attempt := range highest {
			least = max(least, attempt-1)
			most += max(attempt-1, failed[callback])
		}
		if e.Attempts < least || e.Attempts > most {
			j.fault("I6: entry %d counts %d attempts, the ledger %d to %d", e.ID, e.Attempts, least, most)
		}
		if e.Dead && e.Crashes < j.facts.MaxCrashes && most == 0 {
			j.fault("I6: entry %d is dead after %d crashes and no failure: want %d crashes", e.ID, e.Crashes, j.facts.MaxCrashes)
		}
	}
}
