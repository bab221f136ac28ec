package processors_test

import (
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// A head that killed its workers is dead, and stops its key unless that skips
// what fails. A worker that takes it back lets the key go on.
func TestHeadThatKillsWorkers(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		for _, policy := range []reliable.KeyPolicy{reliable.KeyPark, reliable.KeyBlock, reliable.KeySkip} {
			t.Run(string(policy), func(t *testing.T) {
				o := open(t, testdb.New(t, d))
				o.keyed(t, "a", "a")
				list := "[1]"
				if d == testdb.Postgres {
					list = "{1}"
				}
				o.exec(t, "INSERT INTO outbox_claims (worker, ids, lo, hi, alone) VALUES ('gone', '"+list+"', 1, 1, true)")
				p := &processors.OrderedByCausalityKey{LeaseTTL: time.Second, MaxCrashes: 1, Policy: policy}
				o.run(t, "w", p)
				eventually(t, "the head is dead", func() bool { return len(heard[*reliable.EntryDied](o)) == 1 })
				parked := o.count(t, "outbox_parked_keys WHERE causality_key = 'a' AND entry_id = 1")
				told := len(heard[*reliable.KeyParked](o))
				if policy == reliable.KeySkip {
					if got := line(claimed(t, p)); got != " a2" || parked+told != 0 {
						t.Errorf("then the claim has%s, %d keys are parked and %d told of, want a2 and none", got, parked, told)
					}
					return
				}
				if parked != 1 {
					t.Errorf("%d keys are parked, want a", parked)
				}
				eventually(t, "an event", func() bool { return len(heard[*reliable.KeyParked](o)) == 1 })
				claims(t, p, 1000, "")
			})
		}
	})
}

// A worker that only lost its lease takes back what was counted against the
// head that ran alone, and its key is parked no longer.
func TestHeadIsAcquitted(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		o := open(t, testdb.New(t, d))
		o.keyed(t, "a", "a")
		o.exec(t, "UPDATE outbox_entries SET suspect = true WHERE id = 1")
		starved := &processors.OrderedByCausalityKey{LeaseTTL: 3 * time.Second, MaxCrashes: 1}
		o.run(t, "starved", starved)
		c := claims(t, starved, 1000, " a1")
		stop := o.run(t, "other", &processors.OrderedByCausalityKey{LeaseTTL: 150 * time.Millisecond, MaxCrashes: 1})
		o.exec(t, "DELETE FROM outbox_workers WHERE id LIKE 'starved%'") // as a rescuer does
		eventually(t, "the key is parked", func() bool { return o.count(t, "outbox_parked_keys") == 1 })
		stop()
		<-c.Lost()
		again := claimed(t, starved)
		if got := line(again); got != " a1" && got != " a1 a2" {
			t.Errorf("then the claim has%s, want a1", got)
		}
		if n := o.count(t, "outbox_parked_keys"); n != 0 {
			t.Errorf("%d keys are parked, want 0", n)
		}
		done := make(map[int64]reliable.Outcome)
		for _, e := range again.Entries() {
			done[e.ID] = reliable.Outcome{}
		}
		settle(t, again, done)
		if n := o.count(t, "outbox_history WHERE id = 1 AND crashes = 0 AND error_class IS NULL"); n != 1 {
			t.Errorf("%d entries done without a blame, want 1", n)
		}
	})
}
