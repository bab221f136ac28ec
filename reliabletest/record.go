package reliabletest

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// RequireRecorded returns the change of a T that tx has recorded, as a callback
// gets it: the last one, if there are several. op is what the write was;
// OpCreate|OpUpdate takes both, and zero every write. The test ends if there is
// none; what was recorded instead is in its message. Entries that were drained
// count too. tx may also be a database, of [Inline] for one: then all entries
// count that are in it.
func RequireRecorded[T any](t testing.TB, tx *gorm.DB, op reliable.Operation) reliable.Change[T] {
	t.Helper()
	changes := Recorded[T](t, tx, op)
	if len(changes) == 0 {
		t.Fatalf("reliabletest: no %s of %s is recorded; recorded: %s", operation(op), reflect.TypeFor[T](), list(t, tx))
	}
	return changes[len(changes)-1]
}

// RequireNotRecorded ends the test if tx has recorded a change of a T by such a
// write; op is that of [RequireRecorded].
func RequireNotRecorded[T any](t testing.TB, tx *gorm.DB, op reliable.Operation) {
	t.Helper()
	if n := len(Recorded[T](t, tx, op)); n > 0 {
		t.Fatalf("reliabletest: %d of %s of %s, want none; recorded: %s", n, operation(op), reflect.TypeFor[T](), list(t, tx))
	}
}

// Recorded returns the changes of a T that tx has recorded, in order; op is that
// of [RequireRecorded].
func Recorded[T any](t testing.TB, tx *gorm.DB, op reliable.Operation) []reliable.Change[T] {
	t.Helper()
	o := newOutbox(t, tx)
	if o.plugin.Captures(reflect.TypeFor[T]()) == 0 {
		t.Fatalf("reliabletest: %s is not registered: no write of it is ever recorded", reflect.TypeFor[T]())
	}
	var changes []reliable.Change[T]
	for _, e := range o.entries() {
		if o.plugin.ModelOf(e) != reflect.TypeFor[T]() {
			continue
		}
		c, err := reliable.ChangeOf[T](t.Context(), o.tx, e)
		if err != nil {
			t.Fatalf("reliabletest: %v", err)
		}
		if op == 0 || op.Has(c.Operation) {
			changes = append(changes, c)
		}
	}
	return changes
}

// RequireEntry returns the entry that tx has recorded with [reliable.Record] for
// a context and an event: the last one, if there are several. The test ends if
// there is none.
func RequireEntry(t testing.TB, tx *gorm.DB, context, event string) *reliable.OutboxEntry {
	t.Helper()
	entries := newOutbox(t, tx).entries()
	for _, e := range slices.Backward(entries) {
		if e.Context == context && e.EventName == event {
			return e
		}
	}
	t.Fatalf("reliabletest: no %s of context %s is recorded; recorded: %s", event, context, describeAll(entries))
	return nil
}

// entries returns all that the transaction recorded, or the database has.
func (o *Outbox) entries() []*reliable.OutboxEntry {
	o.t.Helper()
	read := o.q.own
	if !inTransaction(o.tx) {
		read = o.q.all
	}
	all, err := read(o.t.Context(), o.tx, o.pool)
	if err != nil {
		o.t.Fatalf("reliabletest: read what is recorded: %v", err)
	}
	entries := make([]*reliable.OutboxEntry, len(all))
	for i, r := range all {
		entries[i] = r.entry
		if err := o.plugin.Decrypt(r.entry); err != nil {
			o.t.Fatalf("reliabletest: entry %d: %v", r.entry.ID, err)
		}
	}
	return entries
}

// operation names a choice of writes.
func operation(op reliable.Operation) string {
	if op == 0 {
		return "write"
	}
	return op.String()
}

func list(t testing.TB, tx *gorm.DB) string {
	t.Helper()
	return describeAll(newOutbox(t, tx).entries())
}

// describeAll lists entries, the last 20 of them.
func describeAll(entries []*reliable.OutboxEntry) string {
	const most = 20
	if len(entries) == 0 {
		return "nothing"
	}
	var b strings.Builder
	if n := len(entries) - most; n > 0 {
		fmt.Fprintf(&b, "\n\t(%d before)", n)
		entries = entries[n:]
	}
	for _, e := range entries {
		b.WriteString("\n\t" + describe(e))
	}
	return b.String()
}
