package reliable

import (
	"encoding/json"
	"fmt"
	"time"
)

// unitState is what an entry keeps of a unit once one of its units failed.
type unitState struct {
	State      string     `json:"state"` // pending, done, discarded or dead
	Attempts   int        `json:"attempts,omitempty"`
	RetryAt    *time.Time `json:"retry_at,omitempty"`
	ErrorClass string     `json:"error_class,omitempty"`
	Error      string     `json:"error,omitempty"`
	putOff     bool       // in this run, by a pause or a breaker
}

// due reports whether the unit is to run now.
func (s *unitState) due(now time.Time) bool {
	return s.State == unitPending && (s.RetryAt == nil || !s.RetryAt.After(now))
}

const (
	unitPending   = "pending"
	unitDone      = "done"
	unitDiscarded = "discarded"
	unitDead      = "dead"
)

// readStates fills states: what the entry says, pending for what it does not.
func (r *run) readStates() error {
	if r.states = r.few[:min(len(r.units), len(r.few))]; len(r.units) > len(r.few) {
		r.states = make([]unitState, len(r.units))
	}
	var stored map[string]unitState
	if len(r.entry.Callbacks) > 0 {
		if err := json.Unmarshal(r.entry.Callbacks, &stored); err != nil {
			return fmt.Errorf("column callbacks: %w", err)
		}
	}
	for i, u := range r.units {
		r.states[i] = stored[u.name]
		switch r.states[i].State {
		case unitDone, unitDiscarded, unitDead:
		default:
			r.states[i].State = unitPending
		}
	}
	return nil
}

func (r *run) writeStates() json.RawMessage {
	stored := make(map[string]*unitState, len(r.units))
	for i, u := range r.units {
		stored[u.name] = &r.states[i]
	}
	data, err := json.Marshal(stored)
	if err != nil { // a time beyond year 9999 is all that could fail
		return r.entry.Callbacks
	}
	return data
}
