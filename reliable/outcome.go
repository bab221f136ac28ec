package reliable

import (
	"encoding/json"
	"time"
)

// State is what becomes of an entry after a run.
type State uint8

// The states of a run's outcome.
const (
	StateDone     State = iota // nothing is owed any more: to history
	StateRetry                 // something is pending: back to the table until RetryAt
	StateDead                  // nothing is pending and something is dead: kept for an operator
	StateReleased              // not run, because an earlier entry of its key goes first: given back as it was
)

// String returns "done", "retry", "dead" or "released".
func (s State) String() string {
	switch s {
	case StateDone:
		return "done"
	case StateRetry:
		return "retry"
	case StateReleased:
		return "released"
	default:
		return "dead"
	}
}

// Outcome is what a run of an entry came to: all that a finish must write and
// all that the monitor must be told once that is durable. Of StateReleased, it
// is nothing: only Entry is set, and the entry is no longer held.
type Outcome struct {
	Entry        *OutboxEntry
	State        State
	RetryAt      time.Time       // StateRetry: when the earliest pending callback is due, by the database's clock
	Attempts     int             // the entry's new count of failed attempts
	Parked       bool            // StateDead: the entry's causality key stops at it
	Completed    bool            // StateDone: the entry's last RunTx has committed that already
	Interrupted  bool            // a shutdown or a lost lease cut the run short; no attempt is burnt
	ErrorClass   string          // of the last failure; empty without one
	ErrorMessage string          // of the last failure: valid UTF-8, no NUL, at most 8 KiB
	Kind         int64           // the entry's new kind, of what is pending; 0 = unchanged
	Callbacks    json.RawMessage // new state per callback; empty if nothing ever failed
	Results      []Result        // one per callback that this run started, in order
}

// Result is what one callback of an entry came to in one run.
type Result struct {
	Callback string        // its name
	Attempt  int           // 1 for the first
	Err      error         // nil when it succeeded
	RetryAt  time.Time     // when it runs again; zero if it does not
	Dead     bool          // it failed for the last time
	Discard  string        // the reason it was given up without being a failure; empty = not given up
	Snoozed  bool          // it asked to run later; RetryAt says when
	Took     time.Duration // how long it ran
}

// Events returns what the outcome has to tell subscribers, in order. Publish
// them only once the finish is durable.
func (o *Outcome) Events() []Event {
	var events []Event
	for i := range o.Results {
		r := &o.Results[i]
		switch {
		case r.Discard != "":
			events = append(events, &EntryDiscarded{Entry: o.Entry, Callback: r.Callback, Reason: Redact(r.Discard)})
		case r.Err != nil:
			events = append(events, &EntryFailed{Entry: o.Entry, Callback: r.Callback, Attempt: r.Attempt, Err: cleanErr(r.Err), RetryAt: r.RetryAt, Took: r.Took})
		}
	}
	switch o.State {
	case StateDone:
		events = append(events, &EntryProcessed{Entry: o.Entry, Results: o.Results})
	case StateDead:
		events = append(events, &EntryDied{Entry: o.Entry, ErrorClass: o.ErrorClass, ErrorMessage: o.ErrorMessage})
		if o.Parked {
			events = append(events, &KeyParked{Key: o.Entry.CausalityKey, Entry: o.Entry, ErrorClass: o.ErrorClass, ErrorMessage: o.ErrorMessage})
		}
	case StateRetry, StateReleased:
	}
	return events
}
