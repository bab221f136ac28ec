package reliable

import (
	"fmt"
	"reflect"
)

// unhandled reports writes to be recorded that nothing is owed for. Such an
// entry would be written for nobody: it isn't, and who asked for it should know.
func (m *model) unhandled() error {
	handled := Operation(0)
	for _, c := range m.callbacks {
		handled |= c.on
	}
	switch rest := m.recorded() &^ handled; {
	case len(m.callbacks) == 0:
		return fmt.Errorf("%s: nothing is owed for it: add a callback, or a record processor with Handle(reliable.ContextModel, ...)", m.typ)
	case rest != 0:
		return fmt.Errorf("%s: Register's On names %s, for which nothing is owed: add a callback for it, or a record processor with Handle(reliable.ContextModel, ...)", m.typ, rest)
	default:
		return nil
	}
}

// mistakes returns what is wrong with the model without looking at its schema.
func (m *model) mistakes() []error {
	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: "+format, append([]any{m.typ}, args...)...))
	}
	if m.typ.Kind() == reflect.Pointer {
		wrong("a callback is registered on the pointer: use reliable.Callback[%s]", m.typ.Elem().Name())
		return errs
	}
	if m.typ.Kind() != reflect.Struct || m.class() == "" {
		wrong("not a named struct: callbacks are registered on models")
		return errs
	}
	if m.on&^opAll != 0 {
		wrong("Register's On is %d: want OpCreate, OpUpdate and OpDestroy joined with |", m.on)
	}
	names := make(map[string]bool)
	for _, c := range m.callbacks {
		switch {
		case c.name == "":
			wrong("callback without Name")
		case c.runs != 1:
			wrong("callback %q: Run is required, or RunTx, but not both: %d are set", c.name, c.runs)
		}
		if c.tx && c.timeout > MaxTxTimeout {
			wrong("callback %q: Timeout is %s: RunTx may take at most %s, since its transaction holds locks: use Run for what takes longer", c.name, c.timeout, MaxTxTimeout)
		}
		if c.maxAttempts < 0 {
			wrong("callback %q: MaxAttempts is %d: want 1 or more, or 0 for %d", c.name, c.maxAttempts, DefaultMaxAttempts)
		}
		if c.noModel && c.whenGone != GoneDiscard {
			wrong("callback %q: NoModel leaves out the look at the row that WhenGone needs: set one of them", c.name)
		}
		if c.timeout < 0 {
			wrong("callback %q: Timeout is %s: want more than 0, or 0 for the worker's setting", c.name, c.timeout)
		}
		if c.on&^opAll != 0 {
			wrong("callback %q: On is %d: want OpCreate, OpUpdate and OpDestroy joined with |", c.name, c.on)
		}
		if err := c.breaker.validate(); err != nil {
			wrong("callback %q: %w", c.name, err)
		}
		for _, name := range append([]string{c.name}, c.aliases...) {
			if name != "" && names[name] {
				wrong("callback %q: the name or alias %q is taken", c.name, name)
			}
			names[name] = true
		}
	}
	return errs
}
