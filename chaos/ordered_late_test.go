package chaos_test

import (
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/chaos"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
)

// Entries of a key are committed while later ones of it are in work: they wait
// until those are finished, however few are asked for (32).
func TestLateCommitWhileItsKeyRuns(t *testing.T) {
	for _, d := range []testdb.Dialect{testdb.Postgres, testdb.MySQL} { // SQLite has one writer at a time
		t.Run(d.String(), func(t *testing.T) {
			s := emptyScene(t, testdb.New(t, d))
			late := s.db.Begin()
			if err := late.Create(&[]chaos.Posting{{Account: "a", Number: 1}, {Account: "a", Number: 2}, {Account: "a", Number: 3}}).Error; err != nil {
				t.Fatal(err)
			}
			if err := s.db.Create(&[]chaos.Posting{{Account: "a", Number: 4}, {Account: "a", Number: 5}}).Error; err != nil {
				t.Fatal(err)
			}
			p := &processors.OrderedByCausalityKey{LeaseTTL: 10 * time.Second}
			s.run(t, "late", p)
			first := s.claim(t, p, 1)
			if err := late.Commit().Error; err != nil {
				t.Fatal(err)
			}
			for range 5 { // reads go on where the last one ended
				if c, err := p.Claim(t.Context(), 1); c != nil || err != nil {
					t.Fatalf("Claim() = entry %d, %v while entry %d of the same key is in work; want none", c.Entries()[0].ID, err, first.Entries()[0].ID)
				}
			}
			if err := first.Finish(t.Context(), done(first)); err != nil {
				t.Fatal(err)
			}
			if next := s.claim(t, p, 1); next.Entries()[0].ID >= first.Entries()[0].ID {
				t.Errorf("entry %d comes next, want the first of the key", next.Entries()[0].ID)
			}
		})
	}
}
