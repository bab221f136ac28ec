package reliable

import (
	"encoding/json"
	"fmt"
)

// Redrive returns what the columns kind and callbacks of a dead entry become
// when an operator has it tried again: what is done or discarded stays so,
// everything else is pending, due at once, and has all its attempts before it.
// It knows no callbacks but by what the entry says, so that any binary may do
// it. A column callbacks that can't be read is an error.
func (e *OutboxEntry) Redrive() (kind int64, callbacks json.RawMessage, err error) {
	kind = EntryKind(e.Context, e.ResourceClass, e.EventName, e.Owed)
	if len(e.Callbacks) == 0 {
		return kind, nil, nil
	}
	var states map[string]*unitState
	if err := json.Unmarshal(e.Callbacks, &states); err != nil {
		return 0, nil, fmt.Errorf("column callbacks: %w", err)
	}
	for _, state := range states {
		if state != nil && state.State != unitDone && state.State != unitDiscarded {
			state.State, state.Attempts, state.RetryAt = unitPending, 0, nil
		}
	}
	callbacks, err = json.Marshal(states)
	return kind, callbacks, err
}
