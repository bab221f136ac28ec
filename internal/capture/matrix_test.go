package capture_test

import (
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// Whatever way a row is written, what is captured is what the row triggers say,
// and the writer sees what it sees without capture.
func TestWrites(t *testing.T) {
	page := make(document)
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		for _, session := range []struct {
			name   string
			config *gorm.Config
		}{
			{"default", &gorm.Config{}},
			{"no default transaction", &gorm.Config{SkipDefaultTransaction: true}},
			{"prepared", &gorm.Config{PrepareStmt: true}},
			{"translated errors", &gorm.Config{TranslateError: true}},
		} {
			t.Run(session.name, func(t *testing.T) {
				l := newLab(t, d, session.config)
				for _, s := range scenarios() {
					if s.only == nil || slices.Contains(s.only, d) {
						t.Run(s.name, func(t *testing.T) {
							if seen := l.compare(t, s); session.name == "default" {
								page.note(s, d, seen)
							}
						})
					}
				}
			})
		}
	})
	page.compare(t)
}

func scenarios() []scenario {
	return slices.Concat(creates(), updates(), deletes(), together(), unseen())
}

// anonymous is the name of a test's database, which errors tell.
var anonymous = regexp.MustCompile(`reliable_test_[0-9]+_[a-z0-9]{12}`)

// compare runs a scenario with and without capture. It returns what became of
// the rows that changed.
func (l *lab) compare(t *testing.T, s scenario) outcome {
	t.Helper()
	l.reset(t)
	got, want := s.run(l.db.Session(&gorm.Session{})), s.run(l.plain.Session(&gorm.Session{}))
	got, want = anonymous.ReplaceAllString(got, ""), anonymous.ReplaceAllString(want, "")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("seen by the writer: -plain +captured\n%s", diff)
	}
	if diff := cmp.Diff(contents(t, l.plain), contents(t, l.db)); diff != "" {
		t.Errorf("tables: -plain +captured\n%s", diff)
	}
	changed, captured := changes(t, l.db, "audit"), changes(t, l.db, "captured")
	if s.why != "" {
		if len(changed) == 0 || len(captured) > 0 {
			t.Errorf("%d rows changed, %d were captured; want some, and none: %s", len(changed), len(captured), s.why)
		}
		return notSeen
	}
	if diff := cmp.Diff(changed, captured); diff != "" {
		t.Errorf("rows: -triggers +captured\n%s", diff)
	}
	if len(changed) == 0 {
		return nothing
	}
	return wasCaptured
}
