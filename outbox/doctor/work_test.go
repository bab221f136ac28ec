package doctor_test

import (
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/outbox"
	"github.com/gorm-aftercommit/aftercommit/outbox/doctor"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// What only a program with callbacks can examine, another one says so.
func TestWithoutCallbacks(t *testing.T) {
	t.Parallel()
	db := testdb.New(t, testdb.SQLite).Open(t)
	if err := db.Use(reliable.New(reliable.Config{Registry: new(reliable.Registry)})); err != nil {
		t.Fatal(err)
	}
	migrate(t, db)
	findings := examine(t, &doctor.Doctor{DB: db})
	want(t, findings, "transactions", doctor.Unknown, "no callbacks", "the program that has them")
	want(t, findings, "orphans", doctor.Unknown, "no callbacks", "the program that has them")
}

func TestSkipDefaultTransaction(t *testing.T) {
	t.Parallel()
	db := open(t, testdb.New(t, testdb.SQLite), &gorm.Config{SkipDefaultTransaction: true})
	want(t, examine(t, &doctor.Doctor{DB: db}), "transactions", doctor.Notice, "SkipDefaultTransaction is set", "db.Transaction")
}

// What is due, and what stands in its way.
func TestWork(t *testing.T) {
	t.Parallel()
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		t.Parallel()
		db := open(t, testdb.New(t, d))
		exec(t, db, "INSERT INTO outbox_entries (kind, context, event_name, owed) VALUES (1, 'billing', 'invoice_sent', '[\"ledger\",\"tax\"]'), (1, 'shop', 'sold', '[]')")
		findings := examine(t, &doctor.Doctor{DB: db})
		want(t, findings, "orphans", doctor.Warning, "2 pending entries owe what this binary does not know", "alias")
		want(t, findings, "orphans", doctor.Warning, "invoice_sent of billing owing ledger, tax (1)", "discard --state orphan")
		want(t, findings, "workers", doctor.Fault, "no worker is alive, and 2 entries are due", "start a worker")

		worker := "INSERT INTO outbox_workers (id, processor, lease_ms, threads, hostname, pid"
		exec(t, db, worker+", beat_at) VALUES ('lost', 'non_ordered', 1000, 3, 'host-a', 7, '2026-01-05 10:00:00')")
		want(t, examine(t, &doctor.Doctor{DB: db}), "workers", doctor.Warning, "the lease of 1 workers is over, since their last heartbeat: host-a:7 (", "takes over")
		exec(t, db, "DELETE FROM outbox_workers", worker+") VALUES ('alive', 'non_ordered', 3600000, 3, 'host-b', 8)")
		want(t, examine(t, &doctor.Doctor{DB: db}), "workers", doctor.OK, "1 workers are alive, 2 entries are due", "")
	})
}

func TestPauses(t *testing.T) {
	t.Parallel()
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		t.Parallel()
		db := open(t, testdb.New(t, d))
		for _, callback := range []string{"ledger", "tax"} {
			if err := outbox.Of(db).Pause(t.Context(), outbox.Selector{Callback: callback, Force: true}, "no money"); err != nil {
				t.Fatal(err)
			}
		}
		want(t, examine(t, &doctor.Doctor{DB: db}), "pauses", doctor.OK, "2 pauses, none older than 1d0h", "")
		exec(t, db, "UPDATE outbox_pauses SET paused_at = '2026-01-05 10:00:00' WHERE callback = 'tax'")
		want(t, examine(t, &doctor.Doctor{DB: db}), "pauses", doctor.Warning, "callback tax has been paused for ", "resume")
		want(t, examine(t, &doctor.Doctor{DB: db, OldPause: time.Nanosecond}), "pauses", doctor.Warning, "callback ledger has been paused for ", "resume")
	})
}
