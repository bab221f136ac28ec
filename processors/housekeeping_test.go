package processors_test

import (
	"strings"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// What was done longer ago than the retention goes; what is younger, and what
// is not done, stays, however old.
func TestRetention(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		o := open(t, testdb.New(t, d))
		o.done(t, 24*10, 2500)
		o.done(t, 24*3, 10) // on PostgreSQL its day is not over for long enough
		o.run(t, "worker", &processors.NonOrdered{Housekeeping: processors.Housekeeping{Every: often}})
		o.done(t, 0, 20)
		o.waiting(t, o.ago(24*100)+", NULL, NULL", o.ago(24*100)+", "+o.ago(24*90)+", NULL")
		left := map[testdb.Dialect]int{testdb.Postgres: 30, testdb.MySQL: 20, testdb.SQLite: 20}[d]
		eventually(t, "the old ones are gone", func() bool { return o.count(t, "outbox_history") == left })
		o.rounds(t, 2)
		if got := o.count(t, "outbox_history"); got != left {
			t.Errorf("%d entries in the history, want %d", got, left)
		}
		if got := o.count(t, "outbox_entries"); got != 2 {
			t.Errorf("%d entries, want the one that waits and the dead one", got)
		}
		var rows, bytes int64
		for _, e := range heard[*reliable.HistoryPruned](o) {
			rows, bytes = rows+e.Rows, bytes+e.Bytes
		}
		if d == testdb.Postgres && bytes == 0 || d != testdb.Postgres && rows != 2510 {
			t.Errorf("HistoryPruned told of %d rows and %d bytes", rows, bytes)
		}
		for _, e := range heard[*reliable.ErrorOccurred](o) {
			t.Errorf("%s: %v", e.Step, e.Err)
		}
	})
}

func TestRetentionForever(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		o := open(t, testdb.New(t, d))
		o.done(t, 24*1000, 5)
		o.waiting(t, o.ago(24*1000)+", NULL, "+o.ago(24*900))
		o.run(t, "worker", &processors.NonOrdered{Completion: processors.Keep, Housekeeping: processors.Housekeeping{Every: often, Retention: processors.Forever}})
		o.rounds(t, 4)
		if history, kept := o.count(t, "outbox_history"), o.count(t, "outbox_entries"); history != 5 || kept != 1 {
			t.Errorf("%d entries in the history and %d kept, want 5 and 1", history, kept)
		}
	})
}

// Done entries that stay where they are go after the retention, too, and
// nothing else does.
func TestKeptEntriesGo(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		o := open(t, testdb.New(t, d))
		old, older := o.ago(30), o.ago(24*100)
		o.waiting(t, older+", NULL, NULL", older+", "+older+", NULL", old+", NULL, "+old, older+", NULL, "+o.ago(20))
		o.run(t, "worker", &processors.NonOrdered{Completion: processors.Keep, Housekeeping: processors.Housekeeping{Every: often, Retention: 24 * time.Hour}})
		eventually(t, "the old one is gone", func() bool { return o.count(t, "outbox_entries WHERE processed_at IS NOT NULL") == 1 })
		o.rounds(t, 2)
		if got := o.count(t, "outbox_entries"); got != 3 {
			t.Errorf("%d entries, want the one that waits, the dead one and the one that is done since 20 hours", got)
		}
	})
}

// One worker at a time has the lease: the next one gets it when it stops, or
// when it is dead.
func TestOneHousekeeper(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		o := open(t, testdb.New(t, d))
		keeper := func() string {
			var name string
			if err := o.Raw("SELECT coalesce(worker, '') FROM outbox_duties WHERE name = 'housekeeping'").Scan(&name).Error; err != nil {
				t.Fatal(err)
			}
			return name
		}
		settings := processors.Housekeeping{Every: often}
		stop := o.run(t, "first", &processors.NonOrdered{Housekeeping: settings})
		eventually(t, "the first has it", func() bool { return keeper() == "first" })
		o.run(t, "second", &processors.NonOrdered{Housekeeping: settings})
		for range 20 {
			o.rounds(t, 1)
			if got := keeper(); got != "first" {
				t.Fatalf("%q has the lease, want the first", got)
			}
		}
		stop()
		eventually(t, "the second has it", func() bool { return keeper() == "second" })
		o.exec(t, "UPDATE outbox_duties SET worker = 'a dead one', held_until = "+o.ago(1)+" WHERE name = 'housekeeping'")
		eventually(t, "the second has it after a dead one", func() bool { return keeper() == "second" })
		o.exec(t, "DELETE FROM outbox_duties")
		eventually(t, "the second has it again", func() bool { return keeper() == "second" })
	})
}

// Partitions are there before the first claim, for a week; a finish that finds
// none all the same makes it.
func TestPartitionsAhead(t *testing.T) {
	o := open(t, testdb.New(t, testdb.Postgres))
	p := &processors.NonOrdered{Housekeeping: processors.Housekeeping{Every: time.Hour}}
	o.run(t, "worker", p)
	const partitions = "pg_inherits WHERE inhparent = 'outbox_history'::regclass"
	if n := o.count(t, partitions); n != 8 {
		t.Errorf("%d partitions, want today's and those of seven days", n)
	}
	var names []string
	if err := o.Raw("SELECT inhrelid::regclass::text FROM " + partitions).Scan(&names).Error; err != nil {
		t.Fatal(err)
	}
	o.exec(t, "DROP TABLE "+strings.Join(names, ", "))
	o.work(t, p, 3)
	if n := o.count(t, "outbox_history"); n != 3 {
		t.Errorf("%d entries in the history, want 3", n)
	}
}

// Whenever a worker is stopped, in the middle of whatever, it gives the lease
// back.
func TestStopGivesTheLeaseBack(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		o := open(t, testdb.New(t, d))
		for i := range 12 {
			stop := o.run(t, "worker", &processors.NonOrdered{Housekeeping: processors.Housekeeping{Every: time.Millisecond}})
			o.rounds(t, 1)
			stop()
			if n := o.count(t, "outbox_duties WHERE worker IS NOT NULL"); n != 0 {
				t.Fatalf("after stop %d the worker has still the lease", i+1)
			}
		}
	})
}
