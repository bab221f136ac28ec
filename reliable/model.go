package reliable

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	"gorm.io/gorm"
)

// Model is how a T takes part beyond its callbacks: its names, its causality
// key, and the callbacks that it declares as methods. The zero value is
// complete.
type Model[T any] struct {
	// Name is the model's name in entries. Empty means the name of the type,
	// which must then be unique in the registry.
	Name string

	// Aliases are former names. Entries that carry one are this model's.
	Aliases []string

	// On selects writes to record even if no callback owes anything for them,
	// for record processors of [ContextModel]. Zero means all writes for a
	// model without callbacks, and none beyond the callbacks' otherwise. Writes
	// that neither a callback nor such a processor is for are a mistake that
	// db.Use reports, unless Config.AllModels records for another binary.
	On Operation

	// CausalityKey names what the model's entries are ordered by. It is asked
	// when a change is captured, with the row as written (before it, for a
	// destroy). Nil means Config.CausalityKey; "" means unordered.
	CausalityKey func(*T) string

	// StrictOrder is Config.StrictOrder for this model's entries.
	StrictOrder bool

	// Load, if set, adds to the query that reads the models of a batch, for
	// example Preload of an association. It must not narrow the query.
	Load func(*gorm.DB) *gorm.DB

	// TouchCounts makes an update that changed nothing but autoUpdateTime
	// columns a change like any other.
	TouchCounts bool
}

// AfterCommitter is a model that declares a callback for all of its writes.
// [Register] finds the method; the callback's name is "ReliableAfterCommit".
type AfterCommitter[T any] interface {
	ReliableAfterCommit(ctx context.Context, c Change[T]) error
}

// AfterCreateCommitter is a model that declares a callback for creates.
type AfterCreateCommitter[T any] interface {
	ReliableAfterCreateCommit(ctx context.Context, c Change[T]) error
}

// AfterUpdateCommitter is a model that declares a callback for updates.
type AfterUpdateCommitter[T any] interface {
	ReliableAfterUpdateCommit(ctx context.Context, c Change[T]) error
}

// AfterDestroyCommitter is a model that declares a callback for deletes and
// soft deletes.
type AfterDestroyCommitter[T any] interface {
	ReliableAfterDestroyCommit(ctx context.Context, c Change[T]) error
}

// AfterSaveCommitter is a model that declares a callback for creates and
// updates.
type AfterSaveCommitter[T any] interface {
	ReliableAfterSaveCommit(ctx context.Context, c Change[T]) error
}

// Register adds m's settings to r, and a callback for each ReliableAfter...
// method of *T. A method with one of their names and another signature is a
// mistake that db.Use reports. It panics if r is already in use.
func Register[T any](r *Registry, m Model[T]) {
	typ := modelOf[T]()
	var key func(any) string
	if m.CausalityKey != nil {
		key = func(model any) string { return m.CausalityKey(model.(*T)) }
	}
	r.describe(typ, settings{
		name: m.Name, aliases: m.Aliases, on: m.On, key: key, strict: m.StrictOrder, load: m.Load, touchCounts: m.TouchCounts,
	})
	for _, c := range methodCallbacks[T]() {
		r.add(typ, c)
	}
	known := reflect.TypeFor[*T]()
	for i := range known.NumMethod() {
		name := known.Method(i).Name
		if strings.HasPrefix(name, "ReliableAfter") && !declares[T](name) {
			r.mistake(fmt.Errorf("%s.%s: not a callback: want one of ReliableAfter[Create|Update|Destroy|Save]Commit(context.Context, reliable.Change[%s]) error",
				typ.Name(), name, typ.Name()))
		}
	}
}

// methodCallbacks returns the callbacks that *T declares as methods.
func methodCallbacks[T any]() []*callback {
	var found []*callback
	add := func(name string, on Operation, run func(context.Context, Change[T]) error) {
		found = append(found, erase(Callback[T]{Name: name, On: on, Run: run}))
	}
	model := any(new(T))
	if _, ok := model.(AfterCommitter[T]); ok {
		add("ReliableAfterCommit", opAll, func(ctx context.Context, c Change[T]) error {
			return any(c.Model).(AfterCommitter[T]).ReliableAfterCommit(ctx, c)
		})
	}
	if _, ok := model.(AfterCreateCommitter[T]); ok {
		add("ReliableAfterCreateCommit", OpCreate, func(ctx context.Context, c Change[T]) error {
			return any(c.Model).(AfterCreateCommitter[T]).ReliableAfterCreateCommit(ctx, c)
		})
	}
	if _, ok := model.(AfterUpdateCommitter[T]); ok {
		add("ReliableAfterUpdateCommit", OpUpdate, func(ctx context.Context, c Change[T]) error {
			return any(c.Model).(AfterUpdateCommitter[T]).ReliableAfterUpdateCommit(ctx, c)
		})
	}
	if _, ok := model.(AfterDestroyCommitter[T]); ok {
		add("ReliableAfterDestroyCommit", OpDestroy, func(ctx context.Context, c Change[T]) error {
			return any(c.Model).(AfterDestroyCommitter[T]).ReliableAfterDestroyCommit(ctx, c)
		})
	}
	if _, ok := model.(AfterSaveCommitter[T]); ok {
		add("ReliableAfterSaveCommit", OpSave, func(ctx context.Context, c Change[T]) error {
			return any(c.Model).(AfterSaveCommitter[T]).ReliableAfterSaveCommit(ctx, c)
		})
	}
	return found
}

// declares reports whether *T's method name is one of the callback methods,
// with the right signature.
func declares[T any](name string) bool {
	for _, c := range methodCallbacks[T]() {
		if c.name == name {
			return true
		}
	}
	return false
}

// modelOf returns T as a type; add reports it if it is no struct.
func modelOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

// settings is a Model without its type parameter.
type settings struct {
	name        string
	aliases     []string
	on          Operation
	key         func(model any) string
	strict      bool
	load        func(*gorm.DB) *gorm.DB
	touchCounts bool
}
