package processors_test

import (
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// A number of crashes that no worker wrote keeps no entry of a dead worker from
// being rescued.
func TestForgedCrashes(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		o := open(t, testdb.New(t, d))
		o.keyed(t, "a", "b")
		o.exec(t, "UPDATE outbox_entries SET crashes = 2147483647 WHERE id = 1")
		for _, id := range []string{"1", "2"} {
			list := "[" + id + "]"
			if d == testdb.Postgres {
				list = "{" + id + "}"
			}
			o.exec(t, "INSERT INTO outbox_claims (worker, ids, lo, hi, alone) VALUES ('gone', '"+list+"', "+id+", "+id+", true)")
		}
		o.run(t, "w", &processors.NonOrdered{LeaseTTL: time.Second, MaxCrashes: 1})
		eventually(t, "both are dead", func() bool { return len(heard[*reliable.EntryDied](o)) == 2 })
	})
}
