package outbox

import (
	"encoding/json"
	"time"
)

// State is where an entry stands.
type State string

// The states. A filter with the zero State takes whatever is not done.
const (
	Pending  State = "pending"  // not done and not dead: eligible, waiting or held
	Eligible State = "eligible" // pending, due, and with no worker; it may be paused, an orphan, or behind the head of its key
	Waiting  State = "waiting"  // pending, with its next attempt ahead
	Held     State = "held"     // pending, with a worker
	Dead     State = "dead"     // given up, parked or not
	Parked   State = "parked"   // given up, and its causality key stands at it
	Orphan   State = "orphan"   // pending, and nothing that this binary knows: see [reliable.Registry.Covers]
)

// Entry is an entry as an operator sees it: everything but what it carries. Its
// JSON is stable.
type Entry struct {
	ID      int64    `json:"id"`
	State   State    `json:"state"` // [Eligible], [Waiting], [Held], [Dead] or [Parked]
	Context string   `json:"context"`
	Model   string   `json:"model,omitempty"`    // name of the model; empty for entries of [reliable.Record]
	ModelID string   `json:"model_id,omitempty"` // its primary key
	Event   string   `json:"event"`
	Key     string   `json:"key,omitempty"`  // causality key
	Owed    []string `json:"owed,omitempty"` // names of the callbacks that are owed

	CreatedAt time.Time  `json:"created_at"` // all times are the database's, in UTC
	RetryAt   *time.Time `json:"retry_at,omitempty"`
	FailedAt  *time.Time `json:"failed_at,omitempty"`
	DeadAt    *time.Time `json:"dead_at,omitempty"`

	Attempts     int    `json:"attempts"` // that failed
	Crashes      int    `json:"crashes"`  // times that a worker died while it ran alone
	Suspect      bool   `json:"suspect,omitempty"`
	ErrorClass   string `json:"error_class,omitempty"`
	ErrorMessage string `json:"error_message,omitempty"` // in a list its first 300 characters
	Worker       string `json:"worker,omitempty"`        // that holds it
	Orphan       bool   `json:"orphan,omitempty"`        // this binary does not know it; never set where it knows no callbacks
}

// Details is an entry with what it carries, masked.
type Details struct {
	Entry

	// Changeset is what changed, as [reliable.OutboxEntry.Masked] shows it.
	// Arguments and Headers say only how long they are, unless revealed.
	Changeset json.RawMessage `json:"changeset,omitempty"`
	Arguments json.RawMessage `json:"arguments,omitempty"`
	Headers   json.RawMessage `json:"headers,omitempty"`

	Callbacks []CallbackState `json:"callbacks,omitempty"` // by name; empty until the first failure
}

// CallbackState is what an entry keeps of a callback after the first failure of
// one of them.
type CallbackState struct {
	Name         string     `json:"name"`
	State        string     `json:"state"` // pending, done, discarded or dead
	Attempts     int        `json:"attempts"`
	RetryAt      *time.Time `json:"retry_at,omitempty"`
	ErrorClass   string     `json:"error_class,omitempty"`
	ErrorMessage string     `json:"error,omitempty"`
}
