package processors_test

import (
	"context"
	"strings"
	"testing"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Whoever reads the history and does not end keeps an old partition, and the
// worker says who that is; finishes and other readers go on. When the reader
// ends, the partition goes, whichever worker has the lease then.
func TestReaderIdlesOnTheHistory(t *testing.T) {
	url := testdb.New(t, testdb.Postgres)
	o := open(t, url)
	o.done(t, 24*10, 5)
	o.done(t, 24*9, 5)
	readers := url.Open(t).Begin()
	defer readers.Rollback()
	var n int
	if err := readers.Exec("SET LOCAL application_name = 'a forgotten console'").Raw("SELECT count(*) FROM outbox_history").Scan(&n).Error; err != nil || n != 10 {
		t.Fatalf("the reader sees %d entries, %v, want 10", n, err)
	}
	p := &processors.NonOrdered{Housekeeping: processors.Housekeeping{Every: often}}
	stop := o.run(t, "first", p)
	tells := func() bool {
		for _, e := range heard[*reliable.ErrorOccurred](o) {
			if e.Step == "housekeeping: drop partitions" && strings.Contains(e.Err.Error(), `application "a forgotten console", idle in transaction`) {
				return true
			}
		}
		return false
	}
	for range 5 { // while the housekeeper tries, and after it
		o.work(t, p, 3)
	}
	eventually(t, "the worker tells of the reader", tells)
	next[*reliable.LatencyMeasured](t, o) // the other duties go on
	o.work(t, p, 3)
	if got := o.count(t, "outbox_history WHERE processed_at > now() - interval '1 day'"); got != 18 {
		t.Errorf("%d entries that are new in the history, want 18", got)
	}
	if err := readers.Raw("SELECT count(*) FROM outbox_history WHERE id < 1000").Scan(&n).Error; err != nil {
		t.Errorf("the reader can't go on: %v", err)
	}
	stop()
	if len(heard[*reliable.HistoryPruned](o)) > 0 {
		t.Error("a partition went that is read")
	}
	o.run(t, "second", &processors.NonOrdered{Housekeeping: processors.Housekeeping{Every: often}})
	if err := readers.Commit().Error; err != nil {
		t.Fatal(err)
	}
	eventually(t, "both partitions are gone", func() bool {
		return o.count(t, "pg_class WHERE relnamespace = current_schema()::regnamespace AND relname LIKE 'outbox_history_2%'") == 8
	})
}

// A partition that somebody else detached is his: it stays.
func TestDetachedPartitionsAreNotOurs(t *testing.T) {
	o := open(t, testdb.New(t, testdb.Postgres))
	theirs := o.partition(t, 20)
	o.exec(t, "ALTER TABLE outbox_history DETACH PARTITION "+theirs)
	o.done(t, 24*10, 5)
	o.run(t, "worker", &processors.NonOrdered{Housekeeping: processors.Housekeeping{Every: often}})
	eventually(t, "the old one is gone", func() bool { return len(heard[*reliable.HistoryPruned](o)) == 1 })
	o.rounds(t, 3)
	if n := o.count(t, "pg_class WHERE oid = to_regclass('"+theirs+"')"); n != 1 {
		t.Error("the partition that was taken out of the history is gone")
	}
}

// A worker that is stopped in the middle of a detach ends soon.
func TestStopWhileDetaching(t *testing.T) {
	url := testdb.New(t, testdb.Postgres)
	o := open(t, url)
	o.done(t, 24*10, 5)
	reader := url.Open(t).Begin()
	defer reader.Rollback()
	if err := reader.Exec("SELECT FROM outbox_history").Error; err != nil {
		t.Fatal(err)
	}
	stop := o.run(t, "worker", &processors.NonOrdered{Housekeeping: processors.Housekeeping{Every: often}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	eventually(t, "the detach waits", func() bool {
		var n int
		err := o.WithContext(ctx).Raw(`SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%DETACH PARTITION%' AND state = 'active' AND pid <> pg_backend_pid()
			AND wait_event_type = 'Lock' AND query LIKE '%outbox_history%'`).Scan(&n).Error
		return err == nil && n > 0
	})
	stop()
	if n := o.count(t, "outbox_duties WHERE worker IS NOT NULL"); n != 0 {
		t.Error("the stopped worker has still the lease")
	}
}

// The days of a history with a long name, in a schema that is not the
// connection's, are told apart, made, and dropped (73).
func TestPartitionsOfALongName(t *testing.T) {
	url := testdb.New(t, testdb.Postgres)
	var schema string
	if err := url.Open(t).Raw("SELECT current_schema()").Scan(&schema).Error; err != nil {
		t.Fatal(err)
	}
	tables := reliable.Tables{Schema: schema, Prefix: strings.Repeat("x", 40)}
	elsewhere := testdb.DB{Dialect: testdb.Postgres, URL: strings.Replace(url.URL, "search_path="+schema, "search_path=pg_catalog", 1)}
	o := openTables(t, elsewhere, tables)
	o.exec(t, "CREATE TABLE "+schema+".old PARTITION OF "+tables.History()+" FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')")
	o.run(t, "worker", &processors.NonOrdered{Housekeeping: processors.Housekeeping{Every: often}})
	if n := o.count(t, "pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = '"+tables.History()+"'::regclass AND relname <> 'old'"); n != 8 {
		t.Errorf("%d partitions besides the old one, want today's and those of seven days", n)
	}
	eventually(t, "the old one is gone", func() bool { return len(heard[*reliable.HistoryPruned](o)) == 1 })
	for _, e := range heard[*reliable.ErrorOccurred](o) {
		t.Errorf("%s: %v", e.Step, e.Err)
	}
}
