package processors_test

import (
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// holdSnapshot opens a transaction that keeps seeing the database as it is now.
func holdSnapshot(t *testing.T, url testdb.DB) *gorm.DB {
	t.Helper()
	db := url.Open(t)
	if url.Dialect == testdb.MySQL {
		if err := db.Exec("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ").Error; err != nil {
			t.Fatal(err)
		}
	}
	tx := db.Begin()
	t.Cleanup(func() { tx.Rollback() })
	if url.Dialect == testdb.Postgres {
		tx.Exec("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").Exec("SET LOCAL application_name = 'a long report'")
	}
	var n int
	if err := tx.Raw("SELECT count(*) FROM outbox_entries").Scan(&n).Error; err != nil {
		t.Fatal(err)
	}
	return tx
}

// Who keeps dead rows is named; when he ends, that is told, too.
func TestBloatIsReported(t *testing.T) {
	url := testdb.New(t, testdb.Postgres)
	o := open(t, url)
	o.exec(t, "ALTER TABLE outbox_entries SET (autovacuum_enabled = off)")
	report := holdSnapshot(t, url)
	var pid int
	if err := report.Raw("SELECT pg_backend_pid()").Scan(&pid).Error; err != nil {
		t.Fatal(err)
	}
	o.exec(t, "INSERT INTO outbox_entries (context, event_name) SELECT 'nobody', 'x' FROM "+o.numbers(2000), "DELETE FROM outbox_entries WHERE id % 2 = 0")
	o.run(t, "worker", &processors.NonOrdered{Housekeeping: processors.Housekeeping{Every: often, DeadRows: 500, HorizonAge: time.Millisecond}})
	eventually(t, "it is told who holds dead rows", func() bool {
		for _, e := range heard[*reliable.BloatFound](o) {
			for _, h := range e.Holders { // others work on this server, too
				if e.Table == "outbox_entries" && e.DeadRows >= 1000 && h.PID == pid && h.Kind == "session" && h.Application == "a long report" && h.State == "idle in transaction" && h.Age > 0 {
					return true
				}
			}
		}
		return false
	})
	eventually(t, "the dead rows are measured", func() bool { return next[*reliable.OutboxMeasured](t, o).DeadRows >= 1000 })
	if err := report.Commit().Error; err != nil {
		t.Fatal(err)
	}
	o.exec(t, "TRUNCATE outbox_entries") // what others hold, vacuum could not remove
	eventually(t, "it is told that the dead rows are gone", func() bool {
		cleared := heard[*reliable.BloatCleared](o)
		return len(cleared) == 1 && cleared[0].DeadRows < 500
	})
}

// A table with few dead rows is no bloat, whoever holds them; nor are many that
// nobody holds and that vacuum has just not come to.
func TestNoBloat(t *testing.T) {
	url := testdb.New(t, testdb.Postgres)
	o := open(t, url)
	o.exec(t, "INSERT INTO outbox_entries (context, event_name) SELECT 'nobody', 'x' FROM "+o.numbers(2000), "DELETE FROM outbox_entries WHERE id % 2 = 0")
	holdSnapshot(t, url)
	stop := o.run(t, "many", &processors.NonOrdered{Housekeeping: processors.Housekeeping{Every: often, DeadRows: 5000, HorizonAge: time.Millisecond}})
	eventually(t, "the statistics know", func() bool {
		return o.count(t, "pg_stat_user_tables WHERE relid = 'outbox_entries'::regclass AND n_dead_tup >= 1000") == 1
	})
	o.rounds(t, 5)
	stop()
	o.run(t, "new", &processors.NonOrdered{Housekeeping: processors.Housekeeping{Every: often, DeadRows: 500, HorizonAge: time.Hour}})
	o.rounds(t, 5)
	if found := heard[*reliable.BloatFound](o); len(found) > 0 {
		t.Errorf("BloatFound = %+v, want none", found[0])
	}
}

// On MariaDB it is the undo that nobody may purge.
func TestUndoIsReported(t *testing.T) {
	url := testdb.New(t, testdb.MySQL)
	o := open(t, url)
	report := holdSnapshot(t, url)
	var id int
	if err := report.Raw("SELECT connection_id()").Scan(&id).Error; err != nil {
		t.Fatal(err)
	}
	o.exec(t, "INSERT INTO outbox_entries (context, event_name) VALUES ('nobody', 'x')")
	for range 20 {
		o.exec(t, "UPDATE outbox_entries SET attempts = attempts + 1")
	}
	o.run(t, "worker", &processors.NonOrdered{Housekeeping: processors.Housekeeping{Every: often, DeadRows: 10, HorizonAge: time.Millisecond}})
	eventually(t, "it is told who holds undo", func() bool {
		for _, e := range heard[*reliable.BloatFound](o) {
			for _, h := range e.Holders {
				if e.Table == "undo log" && e.DeadRows > 10 && h.Kind == "session" && h.PID == id && h.User != "" {
					return true
				}
			}
		}
		return false
	})
}

// An ordinary role sees who holds dead rows, though not since when: then the
// time counts from the first look. Nothing that it may not see is an error.
func TestBloatForAnOrdinaryRole(t *testing.T) {
	url := testdb.New(t, testdb.Postgres)
	admin := url.Open(t)
	var schema string
	if err := admin.Raw("SELECT current_schema()").Scan(&schema).Error; err != nil {
		t.Fatal(err)
	}
	role := schema + "_role"
	if err := admin.Exec("CREATE ROLE " + role).Exec("GRANT ALL ON SCHEMA " + schema + " TO " + role).Error; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := admin.Exec("DROP OWNED BY " + role + " CASCADE").Exec("DROP ROLE " + role).Error; err != nil {
			t.Error(err)
		}
	})
	o := open(t, testdb.DB{Dialect: testdb.Postgres, URL: url.URL + "&options=-c%20role%3D" + role})
	o.exec(t, "ALTER TABLE outbox_entries SET (autovacuum_enabled = off)")
	holdSnapshot(t, url)
	o.exec(t, "INSERT INTO outbox_entries (context, event_name) SELECT 'nobody', 'x' FROM "+o.numbers(2000), "DELETE FROM outbox_entries WHERE id % 2 = 0")
	o.done(t, 24*10, 5)
	o.run(t, "worker", &processors.NonOrdered{Housekeeping: processors.Housekeeping{Every: often, DeadRows: 500, HorizonAge: time.Millisecond}})
	eventually(t, "it is told who holds dead rows", func() bool {
		for _, e := range heard[*reliable.BloatFound](o) {
			for _, h := range e.Holders {
				if h.PID > 0 && h.User != "" && h.Application == "a long report" && h.State == "" && h.Age > 0 {
					return true
				}
			}
		}
		return false
	})
	eventually(t, "the partition is gone", func() bool { return len(heard[*reliable.HistoryPruned](o)) == 1 })
	for _, e := range heard[*reliable.ErrorOccurred](o) {
		t.Errorf("%s: %v", e.Step, e.Err)
	}
}
