package programs_test

import (
	"context"
	"flag"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"
	"pgregory.net/rapid"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

var programs = flag.Int("programs", 300, "how many random programs to run per database")

// Whatever a program of GORM operations does, its writer sees what it sees
// without the plugin, the tables hold the same, and the outbox holds one entry
// for each row that changed and stayed changed: what the row triggers saw.
//
// A failure prints the shortest program that fails, and how to run it again.
// make programs runs many more.
func TestPrograms(t *testing.T) {
	if err := flag.Set("rapid.checks", strconv.Itoa(*programs)); err != nil {
		t.Fatal(err)
	}
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		l := newLab(t, d)
		var ran, operations, changes int
		rapid.Check(t, func(rt *rapid.T) {
			p := rapid.Custom(drawProgram).Draw(rt, "program")
			steps, rows := l.compare(t, rt, p)
			ran++
			operations += steps
			changes += rows
			if ran%1000 == 0 {
				t.Logf("%d programs, %d operations, %d changes of rows", ran, operations, changes)
			}
		})
		t.Logf("%d programs, %d operations, %d changes of rows: no difference", ran, operations, changes)
		if changes < ran {
			t.Errorf("%d programs changed %d rows: that can't be all", ran, changes)
		}
	})
}

// compare runs a program with and without the plugin. It returns how many
// operations ran, and how many rows changed.
func (l *lab) compare(t *testing.T, rt interface{ Errorf(string, ...any) }, p program) (steps, rows int) {
	l.reset(t)
	captured := &machine{lab: l, captured: true, refused: make(map[int]error)}
	plain := &machine{lab: l, refused: captured.refused}
	captured.execute(t, l.captured, p)
	plain.execute(t, l.plain, p)
	if diff := cmp.Diff(plain.seen, captured.seen); diff != "" {
		rt.Errorf("seen by the writer: -plain +captured\n%s", diff)
	}
	if diff := cmp.Diff(l.contents(t, l.plain), l.contents(t, l.captured)); diff != "" {
		rt.Errorf("tables: -plain +captured\n%s", diff)
	}
	if diff := l.log.Diff(t); diff != "" {
		rt.Errorf("entries: -triggers +entries\n%s", diff)
	}
	if n := l.unknown(t); n > 0 && !p.unknown {
		rt.Errorf("%d entries do not know the old values, though nobody else wrote", n)
	}
	if marks, entries := l.marked(t); marks != entries {
		rt.Errorf("recorded %q, the outbox has %q", marks, entries)
	}
	return captured.steps, len(l.log.Changes(t))
}

// execute runs a program on one of the databases.
func (m *machine) execute(t *testing.T, db *gorm.DB, p program) {
	for _, s := range p.steps {
		ctx, cancel := context.WithCancel(t.Context())
		_ = m.run(s, p.session.apply(db.WithContext(context.WithValue(ctx, cancelKey{}, cancel))))
		cancel()
	}
}
