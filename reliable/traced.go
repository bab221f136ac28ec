package reliable

import "context"

// insertion is an INSERT of entries that is under way. It travels in the
// statement's context, past database/sql, to a tracer of the driver's.
type insertion struct {
	plugin *Plugin
	traced bool // a tracer knows of it, and will tell of the commit
}

type insertionKey struct{}

// Traced is for tracers of database drivers, such as contrib/reliablepgx, that
// see every statement of a connection, also those that are not GORM's. With the
// context of a statement that has inserted entries, Traced returns the plugin
// that sent it; with any other, nil. From then on the plugin leaves it to the
// tracer to call [Plugin.Committed] when that transaction is committed, and
// gives no hint of its own: whoever only wants to look must not call Traced.
func Traced(ctx context.Context) *Plugin {
	i, ok := ctx.Value(insertionKey{}).(*insertion)
	if !ok {
		return nil
	}
	i.traced = true
	return i.plugin
}

// Committed wakes the workers: a transaction with entries is
// committed. It is for tracers, see [Traced].
func (p *Plugin) Committed() { p.wakes.now() }
