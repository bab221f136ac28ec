package reliable

import (
	"context"
	"fmt"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"

	"github.com/gorm-aftercommit/aftercommit/internal/capture"
	"github.com/gorm-aftercommit/aftercommit/internal/codec"
)

// recorder turns captured rows into entries.
type recorder struct{ plugin *Plugin }

var _ capture.Hook = recorder{}

// Recorded implements [capture.Hook].
func (r recorder) Recorded(committed bool) {
	if committed {
		r.plugin.wakes.now()
	} else {
		r.plugin.wakes.soon()
	}
}

// RolledBack implements [capture.Hook].
func (r recorder) RolledBack(tx gorm.ConnPool, cause error) {
	if b := r.plugin.buffers.of(tx); b != nil {
		b.fail(cause)
	}
}

// Record implements [capture.Hook].
func (r recorder) Record(db *gorm.DB, set *capture.Set) (tell bool, err error) {
	w := r.plugin.watch(db.Statement)
	ctx := db.Statement.Context
	if tell, err = r.record(ctx, db, w, set); err != nil {
		return false, fmt.Errorf("reliable: record %s of %s: %w", set.Operation, w.class(), err)
	}
	return tell, nil
}

func (r recorder) record(ctx context.Context, db *gorm.DB, w *watch, set *capture.Set) (tell bool, err error) {
	headers, err := r.plugin.headers(ctx)
	if err != nil {
		return false, err
	}
	view := w.view(set.Columns)
	rows := make([]row, 0, len(set.Rows))
	events := make(map[Operation]string, 1)
	for i := range set.Rows {
		op, changes, err := view.changes(set.Operation, &set.Rows[i])
		if err != nil {
			return false, err
		}
		owed := w.owes(op, changes, r.plugin.cfg.Registry)
		if op == 0 || len(owed) == 0 && !w.all {
			continue
		}
		if events[op] == "" {
			events[op] = w.event(op)
		}
		entry := row{
			owed: owed, context: ContextModel, class: w.class(), event: events[op], headers: headers,
			strict: w.strict || r.plugin.cfg.StrictOrder,
		}
		if entry.resourceID, err = resourceID(changes.Key); err != nil {
			return false, err
		}
		if entry.changeset, err = codec.Encode(changes); err != nil {
			return false, fmt.Errorf("%w: leave the field out with `reliable:\"-\"`, or opt out with reliable.Skip", err)
		}
		if len(entry.changeset) > r.plugin.cfg.MaxEntryBytes {
			return false, fmt.Errorf("row %s: the changeset takes %d bytes, more than %d: leave large fields out with `reliable:\"-\"`, raise Config.MaxEntryBytes, or opt out with reliable.Skip",
				entry.resourceID, len(entry.changeset), r.plugin.cfg.MaxEntryBytes)
		}
		if entry.key, err = r.causalityKey(ctx, w, view, &set.Rows[i]); err != nil {
			return false, err
		}
		r.plugin.encrypt(&entry)
		rows = append(rows, entry)
	}
	if len(rows) == 0 {
		return false, nil
	}
	if b := r.plugin.buffers.of(db.Statement.ConnPool); b != nil {
		return false, b.add(ctx, rows)
	}
	_, traced, err := r.plugin.write(ctx, db, rows)
	return !traced, err
}

// causalityKey asks the model's resolver, or the configured one. A panic in it
// is an error.
func (r recorder) causalityKey(ctx context.Context, w *watch, view *view, captured *capture.Row) (key string, err error) {
	if w.key == nil && r.plugin.cfg.CausalityKey == nil {
		return "", nil
	}
	values := captured.New
	if values == nil {
		values = captured.Old
	}
	model, err := view.model(ctx, values)
	if err != nil {
		return "", err
	}
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("CausalityKey panicked: %s", sprint(v))
		}
	}()
	if w.key != nil {
		key = w.key(model.Interface())
	} else {
		key = r.plugin.cfg.CausalityKey(ctx, model.Interface())
	}
	return key, checkKey(key)
}

// event returns the event name of a kind of write, for example
// "order_item_created".
func (w *watch) event(op Operation) string {
	return eventName(w.class(), op)
}

func eventName(class string, op Operation) string {
	return schema.NamingStrategy{}.ColumnName("", class) + "_" + op.past()
}

// owes returns the names of what a write owes, in the order of registration.
// It is empty if the write is not to be recorded.
func (w *watch) owes(op Operation, changes codec.Changeset, r *Registry) []string {
	var owed []string
	for _, c := range w.callbacks {
		if c.on.Has(op) && w.concerns(c, op, changes) {
			owed = append(owed, c.name)
		}
	}
	if len(owed) > 0 || w.recorded().Has(op) {
		owed = append(owed, r.handlerNames(ContextModel)...)
	}
	return owed
}

// concerns reports whether a write passes a callback's WhenChanged.
func (w *watch) concerns(c *callback, op Operation, changes codec.Changeset) bool {
	if op != OpUpdate || len(w.narrow[c]) == 0 || changes.OldUnknown {
		return true
	}
	for _, column := range w.narrow[c] {
		if _, changed := changes.Columns[column]; changed {
			return true
		}
	}
	return false
}
