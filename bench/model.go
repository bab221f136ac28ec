package main

import (
	"context"
	"fmt"
	"time"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Order is the model whose creations are drained.
type Order struct {
	ID        uint
	Customer  string
	Email     string
	Status    string
	Total     int64
	CreatedAt time.Time
}

// Document is a model with a lot in it.
type Document struct {
	ID   uint
	Body string
}

func order() Order {
	return Order{Customer: "Ann Example", Email: "ann@example.com", Status: "new", Total: 1900}
}

// work is what is done for an entry.
type work string

const (
	nothing work = "nothing" // a callback that returns at once, and does without the row
	loading work = "loading" // the same, for which the row is read, as for callbacks that don't say otherwise
	reading work = "reading" // a callback that uses the model and reads the changeset
	record  work = "record"  // a record processor that returns at once: no model, nothing decoded
)

// registry returns the registry of a program whose callbacks do w, and tell of
// each run.
func (w work) registry(ran func(id uint)) *reliable.Registry {
	r := new(reliable.Registry)
	if w == record {
		reliable.Register(r, reliable.Model[Order]{On: reliable.OpCreate})
		r.Handle(reliable.ContextModel, "nothing", reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error {
			ran(0)
			return nil
		}))
		return r
	}
	owe(r, w, ran, func(o *Order) uint { return o.ID })
	owe(r, w, ran, func(d *Document) uint { return d.ID })
	return r
}

// owe registers the callback for one model.
func owe[T any](r *reliable.Registry, w work, ran func(id uint), id func(*T) uint) {
	run := func(_ context.Context, c reliable.Change[T]) error {
		if w == reading {
			if err := read(c, id); err != nil {
				return err
			}
		}
		ran(id(c.Model))
		return nil
	}
	reliable.AfterCommit(r, reliable.Callback[T]{Name: "nothing", On: reliable.OpCreate, Run: run, NoModel: w == nothing})
}

// read uses what a create's callback is given: the model as it is now, the
// image of the change, and the changeset.
func read[T any](c reliable.Change[T], id func(*T) uint) error {
	values, after := c.Changeset(), c.After()
	if c.Gone || c.Before() != nil || !c.Changed("ID") || values["id"].New != id(c.Model) || id(after) != id(c.Model) {
		return reliable.Permanent(fmt.Errorf("entry %d tells of another row than %d", c.Entry.ID, id(c.Model)))
	}
	return nil
}
