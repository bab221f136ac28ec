package processors_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// What a finish gives back is due at once, before what came later, and as it
// was: only its id has gone from the claim.
func TestFinishReleases(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		o := open(t, testdb.New(t, d))
		p := &processors.NonOrdered{LeaseTTL: time.Minute}
		o.run(t, "w", p)
		orders := make([]order, 12)
		if err := o.Create(&orders).Error; err != nil {
			t.Fatal(err)
		}
		claim := func(n int) (c processors.Claim, ids []int64) {
			t.Helper()
			c, err := p.Claim(t.Context(), n)
			if err != nil || c == nil {
				t.Fatalf("Claim() = %v, %v, want a claim", c, err)
			}
			for _, e := range c.Entries() {
				ids = append(ids, e.ID)
			}
			return c, ids
		}
		rows := func() string {
			t.Helper()
			var rows []map[string]any
			if err := o.Raw("SELECT * FROM outbox_entries WHERE id IN (2, 3, 4) ORDER BY id").Scan(&rows).Error; err != nil {
				t.Fatal(err)
			}
			return fmt.Sprint(rows)
		}
		first, _ := claim(5)
		second, _ := claim(4) // the frontier is beyond all that is given back
		before := rows()
		entries := first.Entries()
		outcomes := []reliable.Outcome{
			{Entry: entries[0], State: reliable.StateRetry, RetryAt: first.At().Add(time.Hour), Attempts: 1, ErrorClass: "class", ErrorMessage: "message"},
			{Entry: entries[2], State: reliable.StateReleased},
			{Entry: entries[1], State: reliable.StateReleased},
		}
		for range 2 { // a repetition changes nothing
			if err := first.Finish(t.Context(), outcomes); err != nil {
				t.Fatal(err)
			}
		}
		if after := rows(); after != before {
			t.Errorf("rows of what is given back:\n%s\nwant them as they were:\n%s", after, before)
		}
		again, ids := claim(2)
		if fmt.Sprint(ids) != "[2 3]" {
			t.Errorf("the next claim holds %v, want [2 3]", ids)
		}
		// all of a claim may be given back
		if err := second.Finish(t.Context(), released(second)); err != nil {
			t.Fatal(err)
		}
		if _, ids := claim(3); fmt.Sprint(ids) != "[6 7 8]" {
			t.Errorf("the next claim holds %v, want [6 7 8]", ids)
		}
		for c, entries := range map[processors.Claim][]*reliable.OutboxEntry{first: entries[3:], again: again.Entries()} {
			var done []reliable.Outcome
			for _, e := range entries {
				done = append(done, reliable.Outcome{Entry: e})
			}
			if err := c.Finish(t.Context(), done); err != nil {
				t.Fatal(err)
			}
		}
		if n := o.count(t, "outbox_history WHERE id IN (2, 3, 4, 5)"); n != 4 {
			t.Errorf("%d entries are done, want 4", n)
		}
		if n := len(heard[*reliable.EntryDied](o)); n != 0 {
			t.Errorf("%d entries died, want none", n)
		}
	})
}

// released gives back all of a claim.
func released(c processors.Claim) (outcomes []reliable.Outcome) {
	for _, e := range c.Entries() {
		outcomes = append(outcomes, reliable.Outcome{Entry: e, State: reliable.StateReleased})
	}
	return outcomes
}
