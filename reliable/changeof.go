package reliable

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"gorm.io/gorm"
)

// ModelOf returns the type that a captured entry is a change of, a struct. It
// is nil for an entry of [Record], and for one whose class this registry does
// not have.
func (p *Plugin) ModelOf(e *OutboxEntry) reflect.Type {
	if e.Context != ContextModel {
		return nil
	}
	if w := p.watchOf(e.ResourceClass); w != nil {
		return w.typ
	}
	return nil
}

// Captures returns the writes of a model that may be recorded; typ is the
// struct. It is zero for a type that is not registered.
func (p *Plugin) Captures(typ reflect.Type) Operation {
	if w := p.watches[typ]; w != nil {
		return w.captured()
	}
	return 0
}

// ChangeOf returns what a callback of a captured entry would be given now:
// the row is read through db, also if no callback that is owed asks for it. Callback, Attempt and
// Token are not set. It is an error if e is not a change of a T.
func ChangeOf[T any](ctx context.Context, db *gorm.DB, e *OutboxEntry) (Change[T], error) {
	p, err := From(db)
	if err != nil {
		return Change[T]{}, err
	}
	if of := p.ModelOf(e); of != modelOf[T]() {
		return Change[T]{}, fmt.Errorf("reliable: entry %d is %s of %q, not a change of a %s", e.ID, e.EventName, e.ResourceClass, modelOf[T]())
	}
	batch := p.NewBatch(db, []*OutboxEntry{e}, 0, time.Time{})
	if e.locked != nil {
		return Change[T]{}, fmt.Errorf("reliable: entry %d: %w", e.ID, e.locked)
	}
	core, err := batch.changeWithModel(ctx, e)
	if err != nil {
		return Change[T]{}, fmt.Errorf("reliable: entry %d: %w", e.ID, err)
	}
	return typedChange[T](ctx, core, Attempt{Entry: e}), nil
}
