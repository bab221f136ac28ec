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

// change is a Change without its type parameter: what its copies share.
type change struct {
	schema *schema.Schema
	watch  *watch // nil in a unit test
	op     Operation
	stored []byte          // the changeset; nil in a unit test
	set    codec.Changeset // what was read of it: first all but the columns
	db     *gorm.DB        // nil in a unit test
	loaded reflect.Value   // *T as read for this run; not valid if the row is gone, or was not read
	key    reflect.Value   // *T with the primary key, if no row was read
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
	case c.key.IsValid():
		return c.key
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
	var fields []*schema.Field
	var values []any
	add := func(column string, value any) {
		if field := c.schema.FieldsByDBName[column]; field != nil { // not dropped from the struct since
			fields, values = append(fields, field), append(values, value)
		}
	}
	for _, column := range c.set.Key {
		add(column.Name, column.Value)
	}
	for column, pair := range c.columns() {
		add(column, side(pair))
	}
	if err := c.watch.fill(context.Background(), model, fields, values); err != nil {
		panic(fmt.Errorf("reliable: %s: stored value: %w", c.schema.Name, err))
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
