// Package outbox is what an operator does to the outbox of a database, while
// workers run: it shows what is in it, has dead entries tried again or gives them
// up, stops work and lets it go on, and releases causality keys that are parked.
//
//	o := outbox.Of(db)
//	err := o.Pause(ctx, outbox.Selector{Model: "Order", Callback: "receipt"}, "mail server is down")
//	...
//	err = o.Resume(ctx, outbox.Selector{Model: "Order", Callback: "receipt"})
//
//	keys, err := o.ParkedKeys(ctx, outbox.ParkedFilter{})
//	...
//	err = o.ReleaseKey(ctx, keys[0].Key, keys[0].Head, outbox.RetryHead)
//
//	page, err := o.List(ctx, outbox.Filter{State: outbox.Dead, Model: "Order"})
//	...
//	result, err := o.Retry(ctx, outbox.Filter{State: outbox.Dead, Model: "Order"})
//
// Everything is in the database, so that any process may do it, and every
// worker heeds it.
package outbox

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Outbox is the outbox of one database. Its methods may be called from many
// goroutines.
type Outbox struct{ db *gorm.DB }

// Of returns the outbox of db, in which the plugin must be installed: its
// methods return an error otherwise.
func Of(db *gorm.DB) *Outbox { return &Outbox{db} }

// Selector names work. A name that is empty selects all; at least one must be
// set.
type Selector struct {
	Context  string // [reliable.ContextModel] for captured writes, or the application's own
	Model    string // name of the model in entries, for example "Order"
	Event    string // for example "order_created"
	Callback string // name of the callback or record processor

	// Force takes names that this binary does not know: another may.
	Force bool
}

// maxText is how much a name or a reason may take, in bytes.
const maxText = 255

// ErrNotPaused says that there is no such pause to end.
var ErrNotPaused = errors.New("not paused")

// Pause stops what s selects, in all workers, also kinds of entries that there
// are none of yet. It returns once the pause is stored; a worker begins nothing
// more of it after a second, or after a third of its lease if it is busy, and
// ends what runs. Entries burn no attempt and are not given up: they wait, and
// run what else they owe. A pause that is there keeps its beginning and gets
// the new reason. A name that this binary does not know is an error that lists
// those it does, but with Force.
func (o *Outbox) Pause(ctx context.Context, s Selector, reason string) error {
	plugin, pause, err := o.pause(s, reason)
	if err != nil {
		return err
	}
	if !s.Force {
		if err := plugin.Registry().Knows(pause); err != nil {
			return fmt.Errorf("outbox: pause %s: set Force if another binary has it: %w", pause, err)
		}
	}
	if err := insertPause(o.session(ctx), plugin.Tables(), pause); err != nil {
		return fmt.Errorf("outbox: pause %s: %w", pause, err)
	}
	return nil
}

// Resume ends the pause that was made with the same names. What waited is due
// at once, in every worker within a second or so. It returns an error that
// wraps [ErrNotPaused], and lists what is paused, if there is none.
func (o *Outbox) Resume(ctx context.Context, s Selector) error {
	plugin, pause, err := o.pause(s, "")
	if err != nil {
		return err
	}
	ended, err := deletePause(o.session(ctx), plugin.Tables(), pause)
	if err != nil {
		return fmt.Errorf("outbox: resume %s: %w", pause, err)
	}
	if ended {
		return nil
	}
	all, err := o.Paused(ctx)
	if err != nil {
		return err
	}
	list := make([]string, len(all))
	for i, p := range all {
		list[i] = p.String()
	}
	return fmt.Errorf("outbox: resume %s: %w: there are %d pauses: [%s]", pause, ErrNotPaused, len(all), strings.Join(list, "; "))
}

// Paused returns what is paused, the oldest first.
func (o *Outbox) Paused(ctx context.Context) ([]reliable.Pause, error) {
	plugin, err := reliable.From(o.db)
	if err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	pauses, err := selectPauses(o.session(ctx), plugin.Tables())
	if err != nil {
		return nil, fmt.Errorf("outbox: paused: %w", err)
	}
	return pauses, nil
}

// pause checks a selector and returns the pause that it stands for.
func (o *Outbox) pause(s Selector, reason string) (*reliable.Plugin, reliable.Pause, error) {
	pause := reliable.Pause{Context: s.Context, Model: s.Model, Event: s.Event, Callback: s.Callback, Reason: reason}
	plugin, err := reliable.From(o.db)
	if err != nil {
		return nil, pause, fmt.Errorf("outbox: %w", err)
	}
	if pause.String() == "" {
		return nil, pause, fmt.Errorf("outbox: the selector is empty: set Context, Model, Event or Callback (Context: %q is every captured write)", reliable.ContextModel)
	}
	for _, text := range []string{s.Context, s.Model, s.Event, s.Callback, reason} {
		if len(text) > maxText {
			return nil, pause, fmt.Errorf("outbox: %.20q... takes %d bytes: a name or a reason takes at most %d", text, len(text), maxText)
		}
	}
	return plugin, pause, nil
}

// session returns a handle for statements of the outbox's own.
func (o *Outbox) session(ctx context.Context) *gorm.DB {
	return o.db.Session(&gorm.Session{NewDB: true, Context: reliable.SkipContext(ctx)})
}
