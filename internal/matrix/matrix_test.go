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
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		for _, session := range []struct {
			name   string
			config gorm.Config
		}{
			{"default", gorm.Config{}},
			{"no transactions", gorm.Config{SkipDefaultTransaction: true, TranslateError: true}},
			{"prepared", gorm.Config{PrepareStmt: true}},
		} {
			t.Run(session.name, func(t *testing.T) {
				strict, loose := newLab(t, d, session.config, false), newLab(t, d, session.config, true)
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
	page.check(t)
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
	if became := loose.compare(t, s, true); became != notSeen {
		t.Errorf("with AllowUncaptured: %s, want not seen: %s", became, s.why)
	}
	strict.reset(t)
	if got := s.run(strict.db.Session(&gorm.Session{})); !strings.Contains(got, "reliable: ") {
		return strict.compare(t, s, true)
	}
	if changes := strict.log.Changes(t); len(changes) > 0 {
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
	got, want := s.run(l.db.Session(&gorm.Session{})), s.run(l.plain.Session(&gorm.Session{}))
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
