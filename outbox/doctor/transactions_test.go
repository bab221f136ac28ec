package doctor_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/outbox/doctor"
)

// hold opens a transaction that keeps seeing the database as it is now.
func hold(t *testing.T, url testdb.DB) *gorm.DB {
	t.Helper()
	tx := url.Open(t).Begin()
	t.Cleanup(func() { tx.Rollback() })
	if url.Dialect == testdb.Postgres {
		exec(t, tx, "SET LOCAL application_name = 'a long report'")
	}
	exec(t, tx, "SELECT count(*) FROM outbox_entries")
	return tx
}

func TestLongTransactions(t *testing.T) {
	t.Parallel()
	for d, test := range map[testdb.Dialect]struct{ pid, seen, do string }{
		testdb.Postgres: {"SELECT pg_backend_pid()", "session %d a long report of ", "SELECT pg_terminate_backend(%d)"},
		testdb.MySQL:    {"SELECT connection_id()", "session %d of ", "KILL %d ends it"},
	} {
		t.Run(d.String(), func(t *testing.T) {
			t.Parallel()
			url := testdb.New(t, d)
			db := open(t, url)
			var pid int
			if err := hold(t, url).Raw(test.pid).Scan(&pid).Error; err != nil {
				t.Fatal(err)
			}
			eventually(t, "the transaction is told", func() bool { // MariaDB looks at them now and then; what others hold is older, for a while
				for _, f := range examine(t, &doctor.Doctor{DB: db, LongTransaction: time.Nanosecond}) {
					if f.Code == "long_transactions" && f.Level == doctor.Warning && strings.Contains(f.Seen, fmt.Sprintf(test.seen, pid)) && strings.Contains(f.Do, fmt.Sprintf(test.do, pid)) {
						return true
					}
				}
				return false
			})
		})
	}
}

// A role that may not see what others do says so.
func TestHiddenTransactions(t *testing.T) {
	t.Parallel()
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		url := testdb.New(t, testdb.Postgres)
		admin := open(t, url)
		var schema string
		if err := admin.Raw("SELECT current_schema()").Scan(&schema).Error; err != nil {
			t.Fatal(err)
		}
		role := schema + "_role"
		exec(t, admin, "CREATE ROLE "+role, "GRANT ALL ON SCHEMA "+schema+" TO "+role, "GRANT ALL ON ALL TABLES IN SCHEMA "+schema+" TO "+role)
		t.Cleanup(func() {
			exec(t, admin.WithContext(context.Background()), "DROP OWNED BY "+role+" CASCADE", "DROP ROLE "+role)
		})
		hold(t, url)
		db := plugged(t, with(t, url, "options", "-c role="+role))
		findings := examine(t, &doctor.Doctor{DB: db})
		want(t, findings, "long_transactions", doctor.Unknown, "sessions of other roles do not show", "GRANT pg_read_all_stats")
		want(t, findings, "indexes", doctor.OK, "", "")
		exec(t, admin, "GRANT pg_read_all_stats TO "+role)
		want(t, examine(t, &doctor.Doctor{DB: db, LongTransaction: 1000 * time.Hour}), "long_transactions", doctor.OK, "no transaction is older", "")
	})
	t.Run("mariadb", func(t *testing.T) {
		t.Parallel()
		at := testdb.New(t, testdb.MySQL)
		admin := open(t, at)
		u, err := url.Parse(at.URL)
		if err != nil {
			t.Fatal(err)
		}
		name := u.Path[1:]
		exec(t, admin, "CREATE USER "+name+" IDENTIFIED BY 'secret'", "GRANT ALL ON "+name+".* TO "+name)
		t.Cleanup(func() { exec(t, admin.WithContext(context.Background()), "DROP USER "+name) })
		u.User = url.UserPassword(name, "secret")
		findings := examine(t, &doctor.Doctor{DB: plugged(t, testdb.DB{Dialect: testdb.MySQL, URL: u.String()})})
		want(t, findings, "long_transactions", doctor.Unknown, "not shown", "GRANT PROCESS")
		want(t, findings, "indexes", doctor.OK, "", "")
	})
}

func TestDeadRows(t *testing.T) {
	t.Parallel()
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		db := open(t, testdb.New(t, testdb.Postgres))
		exec(t, db, "ALTER TABLE outbox_entries SET (autovacuum_enabled = off)", "INSERT INTO outbox_entries (context, event_name) SELECT 'nobody', 'x' FROM generate_series(1, 2000)", "DELETE FROM outbox_entries")
		eventually(t, "the statistics know", func() bool {
			var n int64
			err := db.Raw("SELECT n_dead_tup FROM pg_stat_user_tables WHERE relid = 'outbox_entries'::regclass").Scan(&n).Error
			return err == nil && n == 2000
		})
		findings := examine(t, &doctor.Doctor{DB: db, DeadRows: 1999})
		want(t, findings, "dead_rows", doctor.Warning, "outbox_entries has 2,000 dead rows beside 0 live ones, and was never vacuumed", "VACUUM outbox_entries")
		want(t, findings, "autovacuum", doctor.Warning, "autovacuum is switched off for outbox_entries", "RESET (autovacuum_enabled)")
		want(t, examine(t, &doctor.Doctor{DB: db, DeadRows: 2000}), "dead_rows", doctor.OK, "at most 2,000", "")
		want(t, examine(t, &doctor.Doctor{DB: db, DeadRows: 399}), "autovacuum", doctor.Warning, "4,000 rows of outbox_entries were written since it was analyzed", "ANALYZE outbox_entries")
		for _, f := range examine(t, &doctor.Doctor{DB: db, DeadRows: 400}) {
			if strings.Contains(f.Do, "ANALYZE") {
				t.Errorf("%+v, want none of as many rows as there may be", f)
			}
		}
	})
	t.Run("mariadb", func(t *testing.T) {
		t.Parallel()
		url := testdb.New(t, testdb.MySQL)
		db := open(t, url)
		hold(t, url)
		exec(t, db, "INSERT INTO outbox_entries (context, event_name) VALUES ('nobody', 'x')")
		for range 20 {
			exec(t, db, "UPDATE outbox_entries SET attempts = attempts + 1")
		}
		eventually(t, "the undo is told", func() bool {
			for _, f := range examine(t, &doctor.Doctor{DB: db, DeadRows: 1}) {
				if f.Code == "dead_rows" && f.Level == doctor.Warning && strings.Contains(f.Seen, "records of undo wait to be purged") && strings.Contains(f.Do, "innodb_purge_threads") {
					return true
				}
			}
			return false
		})
	})
}

func TestAutovacuumIsOff(t *testing.T) {
	t.Parallel()
	url := testdb.New(t, testdb.Postgres)
	open(t, url)
	off := shadowed(t, url, "current_setting(text) RETURNS text LANGUAGE sql AS 'SELECT CASE WHEN $1 IN (''autovacuum'', ''fsync'') THEN ''off'' ELSE pg_catalog.current_setting($1) END'")
	findings := examine(t, &doctor.Doctor{DB: plugged(t, off)})
	want(t, findings, "autovacuum", doctor.Warning, "autovacuum is off", "postgresql.conf")
	want(t, findings, "settings", doctor.Fault, "fsync is off", "postgresql.conf")
}
