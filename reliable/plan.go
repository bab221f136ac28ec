package reliable

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// depthHeader counts how many captured writes led to this one: a callback's
// write is one deeper than the change that the callback ran for.
const depthHeader = "reliable-depth"

// MaxDepth is how deep a chain of callbacks that write to captured models may
// get before a write is refused. It ends loops that feed themselves.
const MaxDepth = 32

type depthKey struct{}

// watchOf returns the watch of the model with that name or alias, nil if there
// is none.
func (p *Plugin) watchOf(class string) *watch {
	m := p.cfg.Registry.classes[class]
	if m == nil {
		return nil
	}
	return p.watches[m.typ]
}

// units returns what an entry owes, in the order of registration: a model's
// callbacks, then record processors.
func (p *Plugin) units(e *OutboxEntry) []*unit {
	return p.planOf(e).units
}

// planOf returns the plan of an entry's kind.
func (p *Plugin) planOf(e *OutboxEntry) *plan {
	if stored, ok := p.plans.Load(e.Kind); ok {
		if plan := stored.(*plan); plan.fits(e) {
			return plan
		}
	}
	made := &plan{
		context: e.Context, class: e.ResourceClass, event: e.EventName, owed: e.Owed, units: p.plan(e),
	}
	made.reads = slices.ContainsFunc(made.units, func(u *unit) bool { return u.callback != nil && !u.callback.noModel })
	if e.Kind == EntryKind(e.Context, e.ResourceClass, e.EventName, e.Owed) {
		p.plans.Store(e.Kind, made) // bounded: only kinds that the registry covers get here
	}
	return made
}

// plan is what the entries of a kind owe.
type plan struct {
	context, class, event string
	owed                  []string
	units                 []*unit
	reads                 bool // the row, for at least one of them
}

// fits guards against a row whose kind is not that of its names.
func (p *plan) fits(e *OutboxEntry) bool {
	return p.context == e.Context && p.class == e.ResourceClass && p.event == e.EventName && slices.Equal(p.owed, e.Owed)
}

func (p *Plugin) plan(e *OutboxEntry) []*unit {
	r := p.cfg.Registry
	owed := e.Owed
	if len(owed) == 0 {
		owed = r.handlerNames(e.Context)
	}
	var units []*unit
	if w := p.watchOf(e.ResourceClass); e.Context == ContextModel && w != nil {
		for _, c := range w.callbacks {
			name := c.name
			if !slices.Contains(owed, name) {
				i := slices.IndexFunc(c.aliases, func(alias string) bool { return slices.Contains(owed, alias) })
				if i < 0 {
					continue
				}
				name = c.aliases[i]
			}
			u := &unit{name: name, callback: c, timeout: c.timeout, maxAttempts: c.maxAttempts, backoff: c.backoff}
			u.gate = p.gateOf(c, e.Context, w.class(), c.name, c.breaker)
			units = append(units, u)
		}
	}
	for _, h := range r.handlers {
		if h.context == e.Context && slices.Contains(owed, h.name) {
			units = append(units, &unit{name: h.name, handler: h, gate: p.gateOf(h, h.context, "", h.name, nil)})
		}
	}
	for _, u := range units {
		if u.backoff == nil {
			u.backoff = Exponential(DefaultBackoffBase, DefaultBackoffCap)
		}
	}
	return units
}

// headers returns what an entry keeps of a writer's context, as JSON.
func (p *Plugin) headers(ctx context.Context) (json.RawMessage, error) {
	headers, err := p.ask(ctx)
	if err != nil {
		return nil, err
	}
	delete(headers, depthHeader)
	if depth, ok := ctx.Value(depthKey{}).(int); ok {
		if depth >= MaxDepth {
			return nil, fmt.Errorf("callbacks led to captured writes %d deep: a callback feeds itself; use reliable.Skip for its own bookkeeping", MaxDepth)
		}
		if headers == nil {
			headers = make(map[string]string, 1)
		}
		headers[depthHeader] = strconv.Itoa(depth + 1)
	}
	if len(headers) == 0 {
		return nil, nil
	}
	document, err := marshalHeaders(headers)
	if err != nil {
		return nil, fmt.Errorf("Config.Headers: %w", err)
	}
	return document, nil
}

// ask returns a copy of what Config.Headers says. A panic in it is an error.
func (p *Plugin) ask(ctx context.Context) (headers map[string]string, err error) {
	if p.cfg.Headers == nil {
		return nil, nil
	}
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("Config.Headers panicked: %s", sprint(v))
		}
	}()
	return maps.Clone(p.cfg.Headers(ctx)), nil
}

// withHeaders puts an entry's headers into the context of its callbacks, and
// returns how many captured writes led to the entry.
func (p *Plugin) withHeaders(parent context.Context, e *OutboxEntry) (ctx context.Context, depth int, err error) {
	if len(e.Headers) == 0 {
		return parent, 0, nil
	}
	var headers map[string]string
	if err := json.Unmarshal(e.Headers, &headers); err != nil {
		return parent, 0, fmt.Errorf("column headers: %w", err)
	}
	if text, ok := headers[depthHeader]; ok {
		if depth, err = strconv.Atoi(text); err != nil {
			return parent, 0, fmt.Errorf("column headers: %s: %w", depthHeader, err)
		}
	}
	if p.cfg.ContextWithHeaders == nil {
		return parent, depth, nil
	}
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("Config.ContextWithHeaders panicked: %s", sprint(v))
		}
	}()
	return p.cfg.ContextWithHeaders(parent, headers), depth, nil
}
