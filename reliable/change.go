package reliable

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"

	"github.com/gorm-aftercommit/aftercommit/internal/codec"
)

// Change is a committed write of one row, as a callback gets it. The zero
// value is a change of nothing: all methods are safe on it.
type Change[T any] struct {
	// Model is the row as it was read for this run, also if it is soft
	// deleted. If the row is gone, it is what the entry knows of it: all of it
	// for a create or a destroy, the key and the changed columns for an
	// update. It is never nil in a callback, and no other callback's.
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
		field, err := lookUpField(c.core.schema, name)
		if err != nil {
			panic(fmt.Errorf("reliable: %s.Changed(%q): %w", c.core.schema.Name, name, err))
		}
		changed = changed || c.core.changed(field.DBName)
	}
	return changed
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

// DB returns the worker's database, bound to the callback's context. Writes
// through it are captured like any other. It is nil in a unit test.
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

// change is a Change without its type parameter: what its copies share.
type change struct {
	schema *schema.Schema
	op     Operation
	stored []byte          // the changeset; nil in a unit test
	set    codec.Changeset // what was read of it: first all but the columns
	db     *gorm.DB        // nil in a unit test
	loaded reflect.Value   // *T as read for this run; not valid if the row is gone
	gone   bool

	decoded       sync.Once
	malformed     error
	built         sync.Once
	before, after reflect.Value // *T, not valid where there is none
	differ        map[string]bool
}

// columns returns the columns of the changeset. Few callbacks ask for them, so
// that they are read late. Malformed ones panic: it is this attempt's failure.
func (c *change) columns() map[string]codec.Pair {
	c.decoded.Do(func() {
		if c.stored != nil {
			c.set, c.malformed = codec.Decode(c.stored)
		}
	})
	if c.malformed != nil {
		panic(fmt.Errorf("reliable: column changeset: %w", c.malformed))
	}
	return c.set.Columns
}

// model returns the row as loaded, or the best image of it.
func (c *change) model() reflect.Value {
	switch {
	case c.loaded.IsValid():
		return c.loaded
	case c.op == OpDestroy:
		return c.beforeImage()
	default:
		return c.afterImage()
	}
}

func (c *change) beforeImage() reflect.Value {
	c.built.Do(c.build)
	return c.before
}

func (c *change) afterImage() reflect.Value {
	c.built.Do(c.build)
	return c.after
}

// build makes both images from the changeset.
func (c *change) build() {
	if c.op != OpCreate && !c.set.OldUnknown {
		c.before = c.image(func(p codec.Pair) any { return p.Old })
	}
	if c.op != OpDestroy {
		c.after = c.image(func(p codec.Pair) any { return p.New })
	}
}

// image returns a new *T with one side of the changeset's values. A value that
// the field does not take panics: it is this attempt's failure.
func (c *change) image(side func(codec.Pair) any) reflect.Value {
	model := reflect.New(c.schema.ModelType)
	if c.op == OpUpdate && c.loaded.IsValid() {
		model.Elem().Set(c.loaded.Elem())
	}
	set := func(column string, value any) {
		field := c.schema.FieldsByDBName[column]
		if field == nil { // dropped from the struct since
			return
		}
		if err := field.Set(context.Background(), model.Elem(), value); err != nil {
			panic(fmt.Errorf("reliable: %s.%s: stored value %v: %w", c.schema.Name, field.Name, value, err))
		}
	}
	for _, column := range c.set.Key {
		set(column.Name, column.Value)
	}
	for column, pair := range c.columns() {
		set(column, side(pair))
	}
	return model
}

// changed reports whether a column is part of the change.
func (c *change) changed(column string) bool {
	if c.differ != nil {
		return c.differ[column]
	}
	pair, ok := c.columns()[column]
	return ok && (c.set.OldUnknown || !codec.Equal(pair.Old, pair.New))
}

// compare fills differ from the images, for a change without a changeset.
func (c *change) compare() {
	c.differ = make(map[string]bool)
	for _, field := range c.schema.Fields {
		if field.DBName != "" && !reflect.DeepEqual(c.value(field, c.before), c.value(field, c.after)) {
			c.differ[field.DBName] = true
		}
	}
}

// value returns a field of an image in its Go type, nil without an image.
func (c *change) value(field *schema.Field, image reflect.Value) any {
	if !image.IsValid() {
		return nil
	}
	return field.ReflectValueOf(context.Background(), image.Elem()).Interface()
}

// values returns the change by column, in the fields' Go types.
func (c *change) values() map[string]Values {
	before, after := c.beforeImage(), c.afterImage()
	values := make(map[string]Values)
	for _, field := range c.schema.Fields {
		if field.DBName == "" {
			continue
		}
		if _, ok := c.columns()[field.DBName]; ok || c.differ[field.DBName] {
			values[field.DBName] = Values{Old: c.value(field, before), New: c.value(field, after)}
		}
	}
	return values
}

// lookUpField finds a field by its Go name, its path through embedded structs,
// or its column.
func lookUpField(s *schema.Schema, name string) (*schema.Field, error) {
	var found []*schema.Field
	var known []string
	for _, field := range s.Fields {
		if field.DBName == "" {
			continue
		}
		path := field.BindName()
		known = append(known, path)
		if field.DBName == name || path == name {
			return field, nil
		}
		if field.Name == name {
			found = append(found, field)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, fmt.Errorf("no such field or column %q; has %s", name, strings.Join(known, ", "))
	default:
		return nil, fmt.Errorf("field %q is ambiguous; name it by its path or column", name)
	}
}
