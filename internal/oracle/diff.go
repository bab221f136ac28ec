package oracle

import (
	"strings"
	"testing"
)

// Diff compares the entries with what the triggers saw, and returns "" if they
// say the same, else the lines that differ: -triggers +entries. The changes of
// one row must come in the same order. Two rows that one statement changed may
// have come in either order.
//
// What is normalised, on both sides:
//   - an update that changed nothing, or only autoUpdateTime columns, is none;
//   - columns that the model does not have, does not read, or leaves out by its
//     tag are not compared;
//   - times are instants; MariaDB's texts are texts, though its driver delivers
//     bytes;
//   - an entry of a soft delete stands for the UPDATE that marked the row: it
//     has the whole row before, and what changed (a column that became NULL
//     can't be told from one that stayed);
//   - an entry whose old values are unknown stands for an UPDATE, whatever they
//     were, and must have all new values.
func (l *Log) Diff(t testing.TB) string {
	t.Helper()
	type group struct {
		changes []change
		entries []entry
	}
	groups := make(map[string]*group)
	var order []*group
	of := func(key string) *group {
		g := groups[key]
		if g == nil {
			g = new(group)
			groups[key] = g
			order = append(order, g)
		}
		return g
	}
	for _, c := range l.changes(t) {
		g := of(c.table.name + " " + c.row())
		g.changes = append(g.changes, c)
	}
	for _, e := range l.recorded(t) {
		g := of(e.table + " " + e.row())
		g.entries = append(g.entries, e)
	}
	var b strings.Builder
	for _, g := range order {
		rest := g.changes
		for i := range g.entries {
			e := &g.entries[i]
			for len(rest) > 0 && rest[0].none() && (!e.set.OldUnknown || rest[0].line(e) != e.line()) {
				rest = rest[1:]
			}
			var want string
			if len(rest) > 0 {
				want = rest[0].line(e)
				rest = rest[1:]
			}
			differ(&b, want, e.line())
		}
		for _, c := range rest {
			if !c.none() {
				differ(&b, c.line(nil), "")
			}
		}
	}
	return b.String()
}

func differ(b *strings.Builder, want, got string) {
	if want == got {
		return
	}
	if want != "" {
		b.WriteString("-" + want + "\n")
	}
	if got != "" {
		b.WriteString("+" + got + "\n")
	}
}

// Changes returns what the triggers saw, a line per row that changed, in the
// order of the changes.
func (l *Log) Changes(t testing.TB) []string {
	t.Helper()
	var lines []string
	for _, c := range l.changes(t) {
		if !c.none() {
			lines = append(lines, c.line(nil))
		}
	}
	return lines
}

// Entries returns what was recorded, a line per entry, in the order of ids. The
// old values of an entry that does not know them are written as Unknown.
func (l *Log) Entries(t testing.TB) []string {
	t.Helper()
	var lines []string
	for _, e := range l.recorded(t) {
		lines = append(lines, e.line())
	}
	return lines
}

// Unknown stands in a line of [Log.Entries] whose old values are not known.
const Unknown = "(old unknown)"
