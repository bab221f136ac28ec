package reliable

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Pause is work that an operator stopped, in the table outbox_pauses: what all
// of its names that are set apply to. Package outbox makes and ends pauses; a
// processor reads them and hands them to [Plugin.SetPauses].
type Pause struct {
	Context  string `json:"context,omitempty"`  // [ContextModel], or the application's own
	Model    string `json:"model,omitempty"`    // name of the model in entries, for example "Order"
	Event    string `json:"event,omitempty"`    // for example "order_created"
	Callback string `json:"callback,omitempty"` // name of the callback or record processor

	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"` // when it began, by the database's clock, UTC
}

// ID returns the pause's key: a hash of its four names.
func (p Pause) ID() int64 { return EntryKind(p.Context, p.Model, p.Event, []string{p.Callback}) }

// String returns the names that are set, for example "model Order, callback
// receipt".
func (p Pause) String() string {
	var parts []string
	for _, part := range []struct{ what, name string }{{"context", p.Context}, {"model", p.Model}, {"event", p.Event}, {"callback", p.Callback}} {
		if part.name != "" {
			parts = append(parts, part.what+" "+part.name)
		}
	}
	return strings.Join(parts, ", ")
}

// Knows reports, as an error that lists what there is, which of the names of
// p this registry does not know. The events of record processors are the
// application's own; those are not looked at.
func (r *Registry) Knows(p Pause) error {
	var errs []error
	unknown := func(what, name string, known []string) {
		slices.Sort(known)
		errs = append(errs, fmt.Errorf("no %s is called %q: known are %s", what, name, strings.Join(slices.Compact(known), ", ")))
	}
	contexts := []string{ContextModel}
	for _, h := range r.handlers {
		contexts = append(contexts, h.context)
	}
	if p.Context != "" && !slices.Contains(contexts, p.Context) {
		unknown("context", p.Context, contexts)
	}
	only := r.classes[p.Model]
	if p.Model != "" && only == nil {
		var classes []string
		for class := range r.classes {
			classes = append(classes, class)
		}
		unknown("model", p.Model, classes)
	}
	var events, callbacks []string
	for class, m := range r.classes {
		if only == nil || m == only {
			for _, op := range []Operation{OpCreate, OpUpdate, OpDestroy} {
				events = append(events, eventName(class, op))
			}
		}
	}
	for _, m := range r.order {
		if only == nil || m == only {
			for _, c := range m.callbacks {
				callbacks = append(append(callbacks, c.name), c.aliases...)
			}
		}
	}
	for _, h := range r.handlers {
		if context := cmp.Or(p.Context, h.context); context == h.context && (p.Model == "" || context == ContextModel) {
			callbacks = append(callbacks, h.name)
		}
	}
	if p.Event != "" && (p.Context == ContextModel || p.Model != "" || len(r.handlers) == 0) && !slices.Contains(events, p.Event) {
		unknown("event", p.Event, events)
	}
	if p.Callback != "" && !slices.Contains(callbacks, p.Callback) {
		unknown("callback", p.Callback, callbacks)
	}
	return errors.Join(errs...)
}

// stops reports whether the pause applies to a unit of an entry.
func (p *Pause) stops(r *Registry, e *OutboxEntry, u *unit) bool {
	return (p.Context == "" || p.Context == e.Context) &&
		(p.Model == "" || p.Model == e.ResourceClass || r.classes[p.Model] != nil && r.classes[p.Model] == r.classes[e.ResourceClass]) &&
		(p.Event == "" || p.Event == e.EventName) &&
		(p.Callback == "" || p.Callback == u.name || u.callback != nil && (p.Callback == u.callback.name || slices.Contains(u.callback.aliases, p.Callback)))
}

// SetPauses says what is paused now, in place of what was: work that is
// running goes on, nothing else of it begins. It publishes what is new and
// what is over, and is for processors.
func (p *Plugin) SetPauses(pauses []Pause) {
	var list *[]Pause
	if len(pauses) > 0 {
		list = &pauses
	}
	old := p.pauses.Swap(list)
	if old == nil && list == nil {
		return
	}
	were := make(map[int64]Pause)
	if old != nil {
		for _, pause := range *old {
			were[pause.ID()] = pause
		}
	}
	for _, pause := range pauses {
		if _, ok := were[pause.ID()]; !ok {
			p.cfg.Monitor.Publish(&WorkPaused{Pause: pause})
		}
		delete(were, pause.ID())
	}
	for _, pause := range were {
		p.cfg.Monitor.Publish(&WorkResumed{Pause: pause})
	}
}

// paused reports whether an operator stopped a unit of an entry.
func (p *Plugin) paused(e *OutboxEntry, u *unit) bool {
	list := p.pauses.Load()
	return list != nil && slices.ContainsFunc(*list, func(pause Pause) bool { return pause.stops(p.cfg.Registry, e, u) })
}

// WorkPaused says that a worker of this process heeds a pause from now on.
type WorkPaused struct{ Pause Pause }

// WorkResumed says that a worker of this process no longer heeds a pause.
type WorkResumed struct{ Pause Pause }

// Name implements [Event].
func (*WorkPaused) Name() string { return "work_paused" }

// Name implements [Event].
func (*WorkResumed) Name() string { return "work_resumed" }

func (*WorkPaused) event()  {}
func (*WorkResumed) event() {}
