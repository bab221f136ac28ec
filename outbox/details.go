package outbox

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// fill adds what an entry carries to what is known of it.
func (r *carriedRow) fill(p *reliable.Plugin, d *Details, reveal bool) {
	d.ErrorMessage = text(r.ErrorMessage)
	d.Callbacks = callbackStates(text(r.Callbacks))
	carried := &reliable.OutboxEntry{
		ID: d.ID, Context: d.Context, ResourceClass: d.Model, ResourceID: d.ModelID, EventName: d.Event, CausalityKey: d.Key, Owed: d.Owed,
		Changeset: json.RawMessage(text(r.Changeset)), Arguments: json.RawMessage(text(r.Arguments)), Headers: json.RawMessage(text(r.Headers)),
	}
	if err := p.Decrypt(carried); err != nil {
		for _, c := range []struct{ from, into *json.RawMessage }{{&carried.Changeset, &d.Changeset}, {&carried.Arguments, &d.Arguments}, {&carried.Headers, &d.Headers}} {
			if len(*c.from) > 0 {
				*c.into = note("can't be read: " + err.Error())
			}
		}
		return
	}
	var err error
	if d.Changeset, err = carried.Masked(); err != nil {
		d.Changeset = note("can't be read: " + err.Error()) // the rest is worth to be seen
	}
	d.Arguments, d.Headers = hidden(string(carried.Arguments), reveal), hidden(string(carried.Headers), reveal)
}

// hidden returns a document, or how long it is.
func hidden(document string, reveal bool) json.RawMessage {
	switch {
	case document == "":
		return nil
	case !reveal:
		return note(fmt.Sprintf("masked, %d bytes", len(document)))
	case !json.Valid([]byte(document)):
		return note("no JSON: " + document)
	default:
		return json.RawMessage(document)
	}
}

// note is a remark in place of a document.
func note(text string) json.RawMessage {
	data, _ := json.Marshal("[" + text + "]") // a string can't fail
	return data
}

// callbackStates reads the column callbacks. A worker takes one that can't be
// read for a failure, so that it is only told of.
func callbackStates(document string) []CallbackState {
	if document == "" {
		return nil
	}
	var stored map[string]*struct {
		State      string     `json:"state"`
		Attempts   int        `json:"attempts"`
		RetryAt    *time.Time `json:"retry_at"`
		ErrorClass string     `json:"error_class"`
		Error      string     `json:"error"`
	}
	if err := json.Unmarshal([]byte(document), &stored); err != nil {
		return []CallbackState{{State: "unreadable", ErrorMessage: err.Error()}}
	}
	var states []CallbackState
	for name, s := range stored {
		if s != nil {
			states = append(states, CallbackState{name, s.State, s.Attempts, s.RetryAt, s.ErrorClass, s.Error})
		}
	}
	slices.SortFunc(states, func(a, b CallbackState) int { return strings.Compare(a.Name, b.Name) })
	return states
}
