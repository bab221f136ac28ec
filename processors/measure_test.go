package processors_test

import (
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// What is in the outbox is told by state, with ages on the database's clock.
func TestOutboxMeasured(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		o := open(t, testdb.New(t, d))
		o.run(t, "worker", &processors.NonOrdered{Housekeeping: processors.Housekeeping{Every: often, Retention: processors.Forever}})
		empty := next[*reliable.OutboxMeasured](t, o)
		empty.DeadRows = 0 // MariaDB's is the server's
		if *empty != (reliable.OutboxMeasured{Worker: "worker", Workers: 1, Threads: 1}) {
			t.Errorf("OutboxMeasured = %+v, want nothing of an empty outbox but the worker", empty)
		}
		o.waiting(t, o.ago(50)+", "+o.ago(40)+", NULL", o.ago(60)+", "+o.ago(5)+", NULL", o.ago(7)+", NULL, NULL", o.ago(3)+", NULL, NULL", o.ago(9)+", NULL, NULL")
		o.exec(t, "UPDATE outbox_entries SET retry_at = "+o.ago(-1)+" WHERE created_at < "+o.ago(8)+" AND dead_at IS NULL", // waits
			"UPDATE outbox_entries SET context = 'known', event_name = 'work', kind = 8, owed = '[\"work\"]' WHERE created_at > "+o.ago(4),
			"UPDATE outbox_entries SET lane = 1, causality_key = 'ann' WHERE dead_at > "+o.ago(6),
			"INSERT INTO outbox_parked_keys (causality_key, lane, entry_id, parked_at) SELECT 'ann', 1, id, dead_at FROM outbox_entries WHERE lane = 1",
			"INSERT INTO outbox_pauses (id, context, resource_class, event_name, callback, reason) VALUES (1, 'nobody', '', '', '', 'no money')",
			"INSERT INTO outbox_workers (id, processor, lease_ms, threads, hostname, pid, started_at, beat_at) VALUES ('gone', 'non_ordered', 86400000, 8, 'b', 7, "+o.ago(40)+", "+o.ago(30)+")")
		e := next[*reliable.OutboxMeasured](t, o)
		for name, g := range map[string]struct {
			got  reliable.Gauge
			want int64
		}{
			"Pending": {e.Pending, 3}, "Eligible": {e.Eligible, 2}, "Waiting": {e.Waiting, 1}, "Held": {e.Held, 0},
			"Dead": {e.Dead, 2}, "ParkedKeys": {e.ParkedKeys, 1}, "Orphans": {e.Orphans, 2},
		} {
			if g.got != (reliable.Gauge{N: g.want}) {
				t.Errorf("%s = %+v, want %d", name, g.got, g.want)
			}
		}
		for name, a := range map[string]struct {
			got   time.Duration
			hours time.Duration
		}{"OldestEligible": {e.OldestEligible, 7}, "OldestParked": {e.OldestParked, 5}, "OldestOrphan": {e.OldestOrphan, 9}, "OldestDead": {e.OldestDead, 40}} {
			between(t, name, a.got, a.hours*time.Hour-time.Minute, a.hours*time.Hour+time.Minute)
		}
		if e.Workers != 1 || e.Threads != 1 || e.Pauses != 1 {
			t.Errorf("%d workers with %d threads live, %d pauses; want one of each", e.Workers, e.Threads, e.Pauses)
		}
		for _, e := range heard[*reliable.ErrorOccurred](o) {
			t.Errorf("%s: %v", e.Step, e.Err)
		}
	})
}
