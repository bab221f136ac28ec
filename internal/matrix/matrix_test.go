// Package matrix_test runs every way that GORM has to write, with and without
// the plugin, and publishes as docs/capture.md what was recorded of each.
package matrix_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/oracle"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

func groups() []group {
	return []group{
		{"Creates", creates()},
		{"Upserts", upserts()},
		{"Saves", saves()},
		{"Updates", slices.Concat(updates(), keyChanges(), returningUpdates())},
		{"Deletes and soft deletes", slices.Concat(deletes(), softDeletes())},
		{"Associations", slices.Concat(autosaves(), associations(), joins())},
		{"Fields and tables of every kind", slices.Concat(fields(), tables())},
		{"Transactions", transactions()},
		{"Hooks", hooks()},
		{"Sessions", sessions()},
		{"Not captured, or not all of it", uncaptured()},
	}
}

// Whatever way a row is written, what is recorded is what the row triggers say,
// and the writer sees what it sees without the plugin.
func TestWrites(t *testing.T) {
	names := make(map[string]bool)
	for _, g := range groups() {
		for _, s := range g.scenarios {
			if names[s.name] {
				t.Fatalf("two write paths are called %q", s.name)
			}
			names[s.name] = true
		}
	}
	page := readDocument(t)
	t.Cleanup(func() { page.check(t) })
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		for _, session := range []struct {
			name   string
			config gorm.Config
			within bool
		}{
			{"default", gorm.Config{}, false},
			{"no transactions", gorm.Config{SkipDefaultTransaction: true, TranslateError: true}, false},
			{"prepared", gorm.Config{PrepareStmt: true}, false},
			{"reliable.Transaction", gorm.Config{}, true},
		} {
			t.Run(session.name, func(t *testing.T) {
				t.Parallel() // it waits for the disk, mostly
				strict, loose := newLab(t, d, session.config, false), newLab(t, d, session.config, true)
				strict.within, loose.within = session.within, session.within
				for _, g := range groups() {
					for _, s := range g.scenarios {
						if s.only != nil && !slices.Contains(s.only, d) || s.stage != nil && session.name != "default" {
							continue
						}
						t.Run(s.name, func(t *testing.T) {
							if became := try(t, s, strict, loose); session.name == "default" {
								page.note(s.name, strict.platform(t), became)
							}
						})
					}
				}
			})
		}
	})
}

// try runs a scenario and returns what became of the rows that it changed.
func try(t *testing.T, s scenario, strict, loose *lab) outcome {
	t.Helper()
	if s.stage != nil {
		return s.stage(t, strict.dialect)
	}
	if s.why == "" {
		return strict.compare(t, s, false)
	}
	if s.never {
		return strict.refuses(t, s)
	}
	became := loose.compare(t, s, true)
	if became == nothing && loose.within { // it begins a transaction of its own, which can't be done in one
		return nothing
	}
	if became != notSeen {
		t.Errorf("with AllowUncaptured: %s, want not seen: %s", became, s.why)
	}
	return strict.refuses(t, s)
}

// refuses runs a scenario whose changes can't be captured, or not all of them.
func (l *lab) refuses(t *testing.T, s scenario) outcome {
	t.Helper()
	l.reset(t)
	if got := l.run(s, l.db); !strings.Contains(got, "reliable: ") {
		return l.compare(t, s, true)
	}
	if changes := l.log.Changes(t); len(changes) > 0 {
		t.Errorf("refused, and yet there are changes:\n%s", strings.Join(changes, "\n"))
	}
	return refused
}

// compare runs a scenario with and without the plugin. With partly, changes may
// be missing in the outbox, and some must be.
func (l *lab) compare(t *testing.T, s scenario, partly bool) outcome {
	t.Helper()
	l.reset(t)
	var before []string
	if slices.Contains(s.blind, l.dialect) {
		before = l.contents(t, l.db)
	}
	got, want := l.run(s, l.db), l.run(s, l.plain)
	if diff := cmp.Diff(scrub(want), scrub(got)); diff != "" {
		t.Errorf("seen by the writer: -plain +plugin\n%s", diff)
	}
	after := l.contents(t, l.db)
	if diff := cmp.Diff(l.contents(t, l.plain), after); diff != "" {
		t.Errorf("tables: -plain +plugin\n%s", diff)
	}
	diff := l.log.Diff(t)
	switch {
	case partly && diff == "" && slices.Contains(s.blind, l.dialect):
		gone := slices.DeleteFunc(before, func(row string) bool { return slices.Contains(after, row) })
		if len(gone) <= len(l.log.Changes(t)) {
			t.Errorf("only %d rows changed", len(gone))
		}
	case partly && diff == "" && l.within && len(l.log.Changes(t)) == 0:
		return nothing
	case partly && diff == "":
		t.Error("all is captured")
	case partly && strings.Contains("\n"+diff, "\n+"), !partly && diff != "":
		t.Errorf("rows: -triggers +entries\n%s", diff)
	}
	entries := strings.Join(l.log.Entries(t), "\n")
	switch {
	case partly:
		return notSeen
	case strings.Contains(entries, oracle.Unknown):
		return oldUnknown
	case entries == "":
		return nothing
	default:
		return captured
	}
}
