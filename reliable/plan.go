package reliable

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
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
	kind := EntryKind(e.Context, e.ResourceClass, e.EventName, e.Owed)
	if plan, ok := p.plans.Load(kind); ok {
		return plan.([]*unit)
	}
	plan := p.plan(e)
	p.plans.Store(kind, plan)
	return plan
}

func (p *Plugin) plan(e *OutboxEntry) []*unit {
	r := p.cfg.Registry
	owed := e.Owed
	if len(owed) == 0 {
		owed = r.handlerNames(e.Context)
	}
	var plan []*unit
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
			plan = append(plan, u)
		}
	}
	for _, h := range r.handlers {
		if h.context == e.Context && slices.Contains(owed, h.name) {
			plan = append(plan, &unit{name: h.name, handler: h})
		}
	}
	for _, u := range plan {
		u.maxAttempts = cmp.Or(u.maxAttempts, DefaultMaxAttempts)
		if u.backoff == nil {
			u.backoff = Exponential(DefaultBackoffBase, DefaultBackoffCap)
		}
	}
	return plan
}

// headers returns what an entry keeps of a writer's context, as JSON.
func (p *Plugin) headers(ctx context.Context) (json.RawMessage, error) {
	var headers map[string]string
	if p.cfg.Headers != nil {
		headers = p.cfg.Headers(ctx)
	}
	if depth, ok := ctx.Value(depthKey{}).(int); ok {
		if depth >= MaxDepth {
			return nil, fmt.Errorf("callbacks led to captured writes %d deep: a callback feeds itself; use reliable.Skip for its own bookkeeping", MaxDepth)
		}
		merged := map[string]string{depthHeader: strconv.Itoa(depth + 1)}
		for k, v := range headers {
			if k != depthHeader {
				merged[k] = v
			}
		}
		headers = merged
	}
	if len(headers) == 0 {
		return nil, nil
	}
	return json.Marshal(headers)
}

// withHeaders puts an entry's headers into the context of its callbacks.
func (p *Plugin) withHeaders(ctx context.Context, e *OutboxEntry) (context.Context, error) {
	depth := 0
	if len(e.Headers) > 0 {
		var headers map[string]string
		if err := json.Unmarshal(e.Headers, &headers); err != nil {
			return ctx, fmt.Errorf("column headers: %w", err)
		}
		if text, ok := headers[depthHeader]; ok {
			n, err := strconv.Atoi(text)
			if err != nil {
				return ctx, fmt.Errorf("column headers: %s: %w", depthHeader, err)
			}
			depth = n
		}
		if p.cfg.ContextWithHeaders != nil {
			ctx = p.cfg.ContextWithHeaders(ctx, headers)
		}
	}
	return context.WithValue(ctx, depthKey{}, depth), nil
}
