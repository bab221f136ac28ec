package reliable

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
)

// Registry says what is owed: which callbacks run after which writes of which
// models, and which record processors handle which contexts. The zero value is
// empty and ready. The application and its worker share one; it may serve
// several databases. It is closed by the first db.Use: a later registration
// panics, since entries already captured would not owe it.
type Registry struct {
	mu         sync.Mutex
	closed     bool
	models     map[reflect.Type]*model
	ignored    map[reflect.Type]bool
	order      []*model // models in the order of registration
	handlers   []*handler
	batches    bool // one of them takes batches
	middleware []Middleware
	mistakes   []error
	classes    map[string]*model // by name and alias; filled when closed
}

// model is what a Registry knows of one type.
type model struct {
	settings
	typ        reflect.Type
	registered bool // by Register, not only through a callback
	callbacks  []*callback
}

// class returns the model's name in entries.
func (m *model) class() string {
	if m.name != "" {
		return m.name
	}
	return m.typ.Name()
}

// recorded returns the writes that are recorded even if no callback is owed.
func (m *model) recorded() Operation {
	if len(m.callbacks) == 0 {
		return m.on.orAll()
	}
	return m.on
}

// captured returns the writes that may be recorded.
func (m *model) captured() Operation {
	on := m.recorded()
	for _, c := range m.callbacks {
		on |= c.on
	}
	return on
}

// Handle registers p as the record processor called name for the entries of
// context: of [Record], or, with [ContextModel], of captured writes. The name
// is unique per context and stable across releases. It panics if r is already
// in use.
func (r *Registry) Handle(context, name string, p RecordProcessor) {
	r.change(func() {
		if context == "" || name == "" || p == nil {
			r.mistakes = append(r.mistakes, fmt.Errorf("Handle(%q, %q, %T): context, name and processor are all required", context, name, p))
		}
		r.handlers = append(r.handlers, &handler{context: context, name: name, processor: p})
	})
}

// HandleBatch is [Registry.Handle] for a processor that takes many entries at
// once: at most most of them in one call, zero means [DefaultMaxBatch]. A
// worker also takes no more than it makes durable at once (its FinishGroup).
func (r *Registry) HandleBatch(context, name string, most int, p BatchProcessor) {
	r.change(func() {
		if context == "" || name == "" || p == nil {
			r.mistakes = append(r.mistakes, fmt.Errorf("HandleBatch(%q, %q, %d, %T): context, name and processor are all required", context, name, most, p))
		}
		if most < 0 {
			r.mistakes = append(r.mistakes, fmt.Errorf("HandleBatch(%q, %q, %d, %T): most is %d: want 1 or more entries in a call, or 0 for %d", context, name, most, p, most, DefaultMaxBatch))
		}
		r.handlers = append(r.handlers, &handler{context: context, name: name, together: p, most: cmp.Or(most, DefaultMaxBatch)})
		r.batches = true
	})
}

// Use adds mw around every attempt. The first added is the outermost. It
// panics if r is already in use.
func (r *Registry) Use(mw ...Middleware) {
	r.change(func() { r.middleware = append(r.middleware, mw...) })
}

// Ignore leaves the writes of T out of what Config.AllModels records. It
// panics if r is already in use.
func Ignore[T any](r *Registry) {
	r.change(func() {
		if r.ignored == nil {
			r.ignored = make(map[reflect.Type]bool)
		}
		r.ignored[modelOf[T]()] = true
	})
}

func (r *Registry) add(typ reflect.Type, c *callback) {
	r.change(func() {
		m := r.model(typ)
		m.callbacks = append(m.callbacks, c)
	})
}

func (r *Registry) describe(typ reflect.Type, s settings) {
	r.change(func() {
		m := r.model(typ)
		if m.registered {
			r.mistakes = append(r.mistakes, fmt.Errorf("%s: registered twice: give Register all settings at once", typ))
		}
		m.registered, m.settings = true, s
	})
}

func (r *Registry) mistake(err error) {
	r.change(func() { r.mistakes = append(r.mistakes, err) })
}

// change runs f under the lock, unless the registry is closed.
func (r *Registry) change(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		panic("reliable: registration after db.Use: register every callback before the registry is used")
	}
	f()
}

func (r *Registry) model(typ reflect.Type) *model {
	if m := r.models[typ]; m != nil {
		return m
	}
	if r.models == nil {
		r.models = make(map[reflect.Type]*model)
	}
	m := &model{typ: typ}
	r.models[typ] = m
	r.order = append(r.order, m)
	return m
}

// close ends registration and returns all mistakes, joined. With all, every
// model is recorded for record processors, that of another binary too.
func (r *Registry) close(all bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	mistakes := slices.Clone(r.mistakes)
	r.classes = make(map[string]*model)
	for _, m := range r.order {
		mistakes = append(mistakes, m.mistakes()...)
		for _, class := range append([]string{m.class()}, m.aliases...) {
			if other := r.classes[class]; other != nil && other != m {
				mistakes = append(mistakes, fmt.Errorf("%s and %s are both called %q in entries: give one a name with Register(r, reliable.Model[...]{Name: ...})",
					other.typ, m.typ, class))
			}
			r.classes[class] = m
		}
		if r.ignored[m.typ] {
			mistakes = append(mistakes, fmt.Errorf("%s: registered and ignored: drop one of the two", m.typ))
		}
		if !all && len(r.handlerNames(ContextModel)) == 0 {
			mistakes = append(mistakes, m.unhandled())
		}
		for _, h := range r.handlers {
			if h.context == ContextModel && m.callback(h.name) != nil {
				mistakes = append(mistakes, fmt.Errorf("%s: callback %q has the name of a record processor of context %q: rename one", m.typ, h.name, ContextModel))
			}
		}
	}
	type key struct{ context, name string }
	seen := make(map[key]bool)
	for _, h := range r.handlers {
		if k := (key{h.context, h.name}); seen[k] {
			mistakes = append(mistakes, fmt.Errorf("record processor %q of context %q: registered twice", h.name, h.context))
		} else {
			seen[k] = true
		}
	}
	return errors.Join(mistakes...)
}

// callback returns the model's callback with that name or alias, or nil.
func (m *model) callback(name string) *callback {
	for _, c := range m.callbacks {
		if c.name == name || slices.Contains(c.aliases, name) {
			return c
		}
	}
	return nil
}

// handler returns the record processor of a context by name, or nil.
func (r *Registry) handler(context, name string) *handler {
	for _, h := range r.handlers {
		if h.context == context && h.name == name {
			return h
		}
	}
	return nil
}

// handlerNames returns the names of a context's record processors, in order.
func (r *Registry) handlerNames(context string) []string {
	var names []string
	for _, h := range r.handlers {
		if h.context == context {
			names = append(names, h.name)
		}
	}
	return names
}

// Empty reports whether there is nothing that this registry could do: it has
// neither a callback nor a record processor.
func (r *Registry) Empty() bool {
	return len(r.handlers) == 0 && !slices.ContainsFunc(r.order, func(m *model) bool { return len(m.callbacks) > 0 })
}

// Covers reports whether this registry can do all that e owes: every name in
// e.Owed is known here. A worker leaves an entry alone that it does not cover,
// so that an older binary can't complete what only a newer one can do.
func (r *Registry) Covers(e *OutboxEntry) bool {
	var m *model
	if e.Context == ContextModel {
		if m = r.classes[e.ResourceClass]; m == nil || operationOf(e.EventName) == 0 {
			return false
		}
	}
	for _, name := range e.Owed {
		if r.handler(e.Context, name) == nil && (m == nil || m.callback(name) == nil) {
			return false
		}
	}
	return len(e.Owed) > 0 || len(r.handlerNames(e.Context)) > 0
}
