package reliable

import (
	"context"
	"encoding/json"
	"fmt"
)

// HandleEvent is [Registry.Handle] for one event of a context, with the
// arguments that [Record] was given decoded into an A. For other events of the
// context the processor counts as done. Arguments that are no A are a failed
// attempt.
func HandleEvent[A any](r *Registry, context, event, name string, run func(context.Context, *OutboxEntry, A) error) {
	if event == "" || run == nil {
		r.mistake(fmt.Errorf("HandleEvent(%q, %q, %q): event and function are required", context, event, name))
	}
	r.Handle(context, name, &eventProcessor[A]{event, run})
}

// eventProcessor is what HandleEvent registers.
type eventProcessor[A any] struct {
	event string
	run   func(context.Context, *OutboxEntry, A) error
}

// Applies implements [RecordProcessor].
func (p *eventProcessor[A]) Applies(e *OutboxEntry) bool { return e.EventName == p.event }

// Process implements [RecordProcessor].
func (p *eventProcessor[A]) Process(ctx context.Context, e *OutboxEntry) error {
	var arguments A
	if len(e.Arguments) > 0 {
		if err := json.Unmarshal(e.Arguments, &arguments); err != nil {
			return fmt.Errorf("arguments of %s.%s: %w", e.Context, e.EventName, err)
		}
	}
	return p.run(ctx, e, arguments)
}
