package processors_test

import (
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// next returns the next event of one type that the monitor tells of.
func next[E reliable.Event](t *testing.T, o *outbox) E {
	t.Helper()
	before := len(heard[E](o))
	eventually(t, "an event", func() bool { return len(heard[E](o)) > before+1 }) // the first one may be older than the question
	events := heard[E](o)
	return events[len(events)-1]
}

func between(t *testing.T, name string, got time.Duration, low, high time.Duration) {
	t.Helper()
	if got < low || got > high {
		t.Errorf("%s is %s, want %s to %s", name, got, low, high)
	}
}

// How long entries wait is measured on the database's clock, whatever is done
// or dead in front of them.
func TestLatency(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		for _, completion := range []processors.Completion{processors.Archive, processors.Delete, processors.Keep} {
			t.Run(string(completion), func(t *testing.T) {
				o := open(t, testdb.New(t, d))
				p := &processors.NonOrdered{Completion: completion, Housekeeping: processors.Housekeeping{Every: often, Retention: processors.Forever}}
				o.run(t, "worker", p)
				if e := next[*reliable.LatencyMeasured](t, o); e.Oldest != 0 || e.Overdue != 0 || e.Backlog != 0 || e.Processed != 0 || e.Maximum != 0 {
					t.Errorf("LatencyMeasured = %+v, want nothing of an empty outbox", e)
				}
				o.work(t, p, 3)
				o.exec(t, "UPDATE outbox_entries SET created_at = "+o.ago(2)) // kept ones
				if e := next[*reliable.LatencyMeasured](t, o); completion == processors.Archive && (e.Processed != 3 || e.Minimum < 0 || e.Average < e.Minimum || e.Maximum < e.Average || e.Maximum > 30*time.Second) ||
					completion == processors.Keep && e.Processed != 3 || completion == processors.Delete && e.Processed != 0 || e.Oldest != 0 {
					t.Errorf("LatencyMeasured = %+v, want three entries that were done within seconds", e)
				} else if completion == processors.Keep {
					between(t, "Average", e.Average, 2*time.Hour-time.Minute, 2*time.Hour+time.Minute)
				}
				o.waiting(t, o.ago(50)+", "+o.ago(40)+", NULL", o.ago(3)+", NULL, NULL", o.ago(1)+", NULL, NULL", o.ago(7)+", NULL, NULL", o.ago(9)+", NULL, NULL")
				o.exec(t, "UPDATE outbox_entries SET retry_at = "+o.ago(5)+" WHERE created_at < "+o.ago(6)+" AND created_at > "+o.ago(8), // due since five hours
					"UPDATE outbox_entries SET retry_at = "+o.ago(-1)+" WHERE created_at < "+o.ago(8)+" AND dead_at IS NULL") // not due
				e := next[*reliable.LatencyMeasured](t, o)
				if e.Backlog != 2 {
					t.Errorf("Backlog = %d, want the two that were never tried", e.Backlog)
				}
				between(t, "Oldest", e.Oldest, 9*time.Hour-time.Minute, 9*time.Hour+time.Minute)
				between(t, "Overdue", e.Overdue, 5*time.Hour-time.Minute, 5*time.Hour+time.Minute)
			})
		}
	})
}

// An entry that commits late, below those that were seen, is found.
func TestLatencyOfALateCommit(t *testing.T) {
	o := open(t, testdb.New(t, testdb.Postgres))
	o.exec(t, "INSERT INTO outbox_entries (id, context, event_name, created_at) VALUES (1000, 'nobody', 'x', now())")
	o.run(t, "worker", &processors.NonOrdered{Housekeeping: processors.Housekeeping{Every: often}})
	next[*reliable.LatencyMeasured](t, o)
	o.exec(t, "INSERT INTO outbox_entries (id, context, event_name, created_at) VALUES (500, 'nobody', 'x', now() - interval '2 hours')")
	eventually(t, "the late one is seen", func() bool { return next[*reliable.LatencyMeasured](t, o).Oldest > time.Hour })
}

// Times that no worker wrote keep nobody from seeing how long the others wait.
func TestLatencyOfForgedTimes(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		first, last := "'1000-01-01'", "'9999-12-31'"
		if d == testdb.Postgres {
			first, last = "'-infinity'", "'infinity'"
		}
		o := open(t, testdb.New(t, d))
		o.waiting(t, first+", NULL, NULL", last+", NULL, NULL", first+", NULL, "+last, last+", NULL, "+last, first+", NULL, "+o.ago(0), last+", NULL, "+o.ago(0), o.ago(3)+", NULL, NULL")
		o.exec(t, "INSERT INTO outbox_entries (kind, context, event_name, created_at, retry_at) VALUES (7, 'nobody', 'x', "+first+", "+first+"), (7, 'nobody', 'x', "+last+", "+last+"), (7, 'nobody', 'x', "+o.ago(2)+", "+o.ago(1)+")")
		o.run(t, "worker", &processors.NonOrdered{Completion: processors.Keep, Housekeeping: processors.Housekeeping{Every: often, Retention: processors.Forever}})
		e := next[*reliable.LatencyMeasured](t, o)
		if e.Backlog != 3 || e.Processed != 4 || e.Minimum < 0 || e.Average < e.Minimum || e.Maximum < e.Average {
			t.Errorf("LatencyMeasured = %+v, want three that wait and four that are done", e)
		}
		if d == testdb.Postgres {
			between(t, "Oldest", e.Oldest, 3*time.Hour-time.Minute, 3*time.Hour+time.Minute)
			between(t, "Overdue", e.Overdue, 3*time.Hour-time.Minute, 3*time.Hour+time.Minute)
		} else if year := 365 * 24 * time.Hour; e.Oldest < 290*year || e.Overdue < 290*year {
			t.Errorf("Oldest = %s, Overdue = %s, want the longest there is", e.Oldest, e.Overdue)
		}
	})
}
