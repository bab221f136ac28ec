package chaos_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gorm-aftercommit/aftercommit/chaos"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// post commits postings to accounts, which take turns. One attempt in ten
// fails.
func (s *scene) post(t *testing.T, r *rand.Rand, accounts, each int) {
	t.Helper()
	batch := make([]chaos.Posting, 0, accounts)
	for number := range each {
		batch = batch[:0]
		for account := range accounts {
			p := chaos.Posting{Account: fmt.Sprint("account-", account), Number: number + 1}
			for r.IntN(10) == 0 {
				p.Fails++
			}
			batch = append(batch, p)
		}
		if err := s.db.CreateInBatches(&batch, 500).Error; err != nil {
			t.Fatal(err)
		}
	}
}

// Work that is not ordered breaks the order of every key, and the check of the
// ordered scenes sees that.
func TestUnorderedIsSeen(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		s := emptyScene(t, testdb.New(t, d))
		s.post(t, draws(t), 10, 10)
		s.drain(t)
		report := chaos.Check(s.history(t), chaos.Facts{LeaseTTL: s.lease, MaxCrashes: 3, Bound: chaos.Bound, Entries: facts(t, s.db)})
		if report.Keys != 10 || report.Entries != 100 || report.Disorders == 0 {
			t.Errorf("%d keys, %d entries, %d out of order; want 10, 100, some", report.Keys, report.Entries, report.Disorders)
		}
		for _, fault := range report.Faults {
			if !strings.HasPrefix(fault, "I3: key account-") && !strings.HasPrefix(fault, "I4: key account-") {
				t.Error(fault)
			}
		}
		t.Logf("%d out of order, %d at a time", report.Disorders, report.Overlaps)
	})
}
