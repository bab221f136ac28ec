package processors

import (
	"strings"
	"testing"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// Claims of large entries are small, the first one too; and what did not fit
// into one comes in the next.
func TestLargeEntries(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		p, db := begin(t, d, 24)
		if err := db.Exec("UPDATE outbox_entries SET headers = ?", `{"note":"`+strings.Repeat("x", 1<<20)+`"}`).Error; err != nil {
			t.Fatal(err)
		}
		var next int64 = 1
		for next <= 24 {
			c, err := p.Claim(t.Context(), 24)
			if err != nil || c == nil {
				t.Fatalf("Claim() = %v, %v with %d entries left", c, err, 25-next)
			}
			if n := len(c.Entries()); n > maxClaimBytes>>20 {
				t.Errorf("a claim of %d entries of 1 MiB, want at most %d", n, maxClaimBytes>>20)
			}
			for _, e := range c.Entries() {
				if e.ID != next {
					t.Fatalf("claimed entry %d, want %d", e.ID, next)
				}
				next++
			}
		}
		if n := p.payload.most(1000); n > maxClaimBytes>>20 {
			t.Errorf("the next claim asks for %d entries, want at most %d", n, maxClaimBytes>>20)
		}
	})
}

// What has to make room for retries comes in the next claim, not when the
// backlog is worked off.
func TestRetriesTakeTurns(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		p, db := begin(t, d, 40)
		if err := db.Exec("UPDATE outbox_entries SET retry_at = created_at WHERE id > 35").Error; err != nil {
			t.Fatal(err)
		}
		seen := make(map[int64]bool)
		for range 2 {
			c, err := p.Claim(t.Context(), 12)
			if err != nil || c == nil || len(c.Entries()) != 12 {
				t.Fatalf("Claim() = %v, %v, want 12 entries", c, err)
			}
			for _, e := range c.Entries() {
				seen[e.ID] = true
			}
		}
		var fresh int64 = 1
		for seen[fresh] {
			fresh++
		}
		if fresh < 18 || len(seen) != 24 || !seen[36] || !seen[38] {
			t.Errorf("two claims of 12 took %v, want 1 to 18 or more without a gap, and retries", seen)
		}
	})
}
