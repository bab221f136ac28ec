package reliable

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"
)

// Change is a committed write of one row, as a callback gets it. The zero
// value is a change of nothing: all methods are safe on it.
type Change[T any] struct {
	// Model is the row as it was read for this run, also if it is soft
	// deleted. If the row is gone, it is what the entry knows of it: all of it
	// for a create or a destroy, the key and the changed columns for an
	// update. It is never nil in a callback, and no other callback's. See
	// [Callback.NoModel] for when no row is read.
	Model *T

	Gone        bool      // the row does not exist any more; always so after a destroy that deleted it
	Operation   Operation // OpCreate, OpUpdate or OpDestroy
	SoftDeleted bool      // a destroy that kept the row
	Restored    bool      // an update that undid a soft delete

	Entry   *OutboxEntry // the entry that recorded the change; nil in a unit test
	Attempt int          // 1 for the first run of this callback
	Token   int64        // fencing token of the claim; a later claim's is higher

	core     *change
	callback string
	db       func() *gorm.DB // nil in a unit test
}

// Values are a column's values before and after a change, in the Go type of
// the field. Old is nil for a create, New for a destroy.
type Values struct {
	Old, New any
}

// Before returns the row before the change, nil for a create. In an update,
// columns that did not change come from the row as read for this run. The
// result is the caller's.
func (c Change[T]) Before() *T { return typedImage[T](c.core, (*change).beforeImage) }

// After returns the row after the change, nil for a destroy. In an update,
// columns that did not change come from the row as read for this run. The
// result is the caller's.
func (c Change[T]) After() *T { return typedImage[T](c.core, (*change).afterImage) }

// Changed reports whether at least one of the fields changed. A field is named
// by its Go name ("Total", "Shipping.City" in an embedded struct) or by its
// column. After a create or a destroy, those changed that are not NULL. An
// unknown or ambiguous name panics; the attempt then says which names exist.
func (c Change[T]) Changed(fields ...string) bool {
	if c.core == nil {
		return false
	}
	changed := false
	for _, name := range fields {
		changed = c.core.changed(c.column("Changed", name)) || changed
	}
	return changed
}

// Values returns a field's values before and after the change, as Changeset has
// them; ok says whether it changed. name is as in Changed.
func (c Change[T]) Values(name string) (v Values, ok bool) {
	if c.core == nil {
		return Values{}, false
	}
	v, ok = c.core.values()[c.column("Values", name)]
	return v, ok
}

// column returns the column of a field that a method was asked about. It panics
// if there is none.
func (c Change[T]) column(method, name string) string {
	field, err := lookUpField(c.core.schema, name)
	if err == nil && leftOut(field) {
		err = errors.New("the field is left out of changesets: it is write-only, or tagged reliable:\"-\"")
	}
	if err != nil {
		panic(fmt.Errorf("reliable: %s.%s(%q): %w", c.core.schema.Name, method, name, err))
	}
	return field.DBName
}

// Changeset returns the values before and after the change by column: all
// columns of a create or a destroy, those that changed of an update.
func (c Change[T]) Changeset() map[string]Values {
	if c.core == nil {
		return nil
	}
	return c.core.values()
}

// IdempotencyKey is the same for every run of this callback for this change,
// and for nothing else: hand it to APIs that know such keys.
func (c Change[T]) IdempotencyKey() string {
	if c.Entry == nil {
		return c.callback
	}
	return fmt.Sprintf("%d/%s", c.Entry.ID, c.callback)
}

// DB returns the worker's database, bound to the callback's context; in RunTx,
// the callback's transaction. Writes through it are captured like any other.
// It is nil in a unit test.
func (c Change[T]) DB() *gorm.DB {
	if c.db == nil {
		return nil
	}
	return c.db()
}

// NewChange returns a Change for the unit test of a callback: of before nil
// for a create, after nil for a destroy, both for an update. Model is after,
// or before for a destroy. It panics if T is no model.
func NewChange[T any](op Operation, before, after *T) Change[T] {
	parsed, err := schema.Parse(new(T), new(sync.Map), schema.NamingStrategy{})
	if err != nil {
		panic(fmt.Errorf("reliable: NewChange: %w", err))
	}
	core := &change{schema: parsed, op: op}
	c := Change[T]{Operation: op, Attempt: 1, core: core}
	if before != nil && op != OpCreate {
		core.before = reflect.ValueOf(before)
		c.Model = clone(before)
	}
	if after != nil && op != OpDestroy {
		core.after = reflect.ValueOf(after)
		c.Model = clone(after)
	}
	if c.Model == nil {
		c.Model = new(T)
	}
	c.Gone = op == OpDestroy
	core.built.Do(func() {})
	core.compare()
	return c
}

func clone[T any](v *T) *T {
	c := *v
	return &c
}

func typedImage[T any](core *change, image func(*change) reflect.Value) *T {
	if core == nil {
		return nil
	}
	v := image(core)
	if !v.IsValid() {
		return nil
	}
	return clone(v.Interface().(*T))
}

// typedChange makes the Change[T] that one run of one callback gets.
func typedChange[T any](ctx context.Context, core *change, a Attempt) Change[T] {
	c := Change[T]{
		Gone: core.gone, Operation: core.op, SoftDeleted: core.set.SoftDeleted, Restored: core.set.Restored,
		Entry: a.Entry, Attempt: a.Number, Token: a.Token,
		core: core, callback: a.Callback,
	}
	if core.db != nil {
		c.db = func() *gorm.DB { return core.db.WithContext(ctx) }
	}
	c.Model = clone(core.model().Interface().(*T))
	return c
}
