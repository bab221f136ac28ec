package doctor_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/outbox/doctor"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Without tables, that is told once; what needs them was not examined, and
// nothing is made.
func TestNoTables(t *testing.T) {
	t.Parallel()
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		t.Parallel()
		db := plugged(t, testdb.New(t, d))
		for range 2 {
			findings := examine(t, &doctor.Doctor{DB: db})
			want(t, findings, "migrations", doctor.Fault, "tables are missing: outbox_entries, outbox_claims,", "migrate up")
			want(t, findings, "workers", doctor.Unknown, "tables are missing", "migrations")
			want(t, findings, "transactions", doctor.OK, "", "")
			want(t, findings, "settings", findings[len(findings)-1].Level, "", "")
		}
		if tables, err := db.Migrator().GetTables(); err != nil || len(tables) != 0 {
			t.Errorf("there are tables %q, %v, want none", tables, err)
		}
	})
}

func TestMigrations(t *testing.T) {
	t.Parallel()
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		t.Parallel()
		db := open(t, testdb.New(t, d))
		exec(t, db, "INSERT INTO outbox_migrations (version_id, is_applied) VALUES (98, true), (98, false), (99, true)")
		want(t, examine(t, &doctor.Doctor{DB: db}), "migrations", doctor.Warning, "does not know: 99", "deploy the newer version")
		exec(t, db, "DELETE FROM outbox_migrations WHERE version_id > 0")
		want(t, examine(t, &doctor.Doctor{DB: db}), "migrations", doctor.Fault, "not applied: 1", "migrate up")
		exec(t, db, "DROP TABLE outbox_migrations")
		want(t, examine(t, &doctor.Doctor{DB: db}), "migrations", doctor.Notice, "can't be told", "vendored")
		exec(t, db, "DROP TABLE outbox_pauses")
		want(t, examine(t, &doctor.Doctor{DB: db}), "migrations", doctor.Fault, "tables are missing: outbox_pauses", "migrate up")
	})
}

// Tables may have a prefix, and be in another schema than the connection's.
func TestOtherNames(t *testing.T) {
	t.Parallel()
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		t.Parallel()
		here, tables := testdb.New(t, d), reliable.Tables{Prefix: "shop_"}
		if d != testdb.SQLite {
			name := map[testdb.Dialect]string{testdb.Postgres: "SELECT current_schema()", testdb.MySQL: "SELECT database()"}[d]
			if err := testdb.New(t, d).Open(t).Raw(name).Scan(&tables.Schema).Error; err != nil {
				t.Fatal(err)
			}
		}
		db := here.Open(t)
		r := new(reliable.Registry)
		r.Handle("billing", "ledger", reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error { return nil }))
		if err := db.Use(reliable.New(reliable.Config{Registry: r, Tables: tables})); err != nil {
			t.Fatal(err)
		}
		migrate(t, db)
		for _, f := range examine(t, &doctor.Doctor{DB: db}) {
			if f.Level != doctor.OK && !elsewhere(f) {
				t.Errorf("%+v, want nothing to do", f)
			}
		}
		index := "shop_outbox_retry"
		switch d {
		case testdb.Postgres:
			exec(t, db, "DROP INDEX "+tables.Schema+"."+index)
		case testdb.MySQL:
			exec(t, db, "DROP INDEX "+index+" ON "+tables.Entries())
		default:
			exec(t, db, "DROP INDEX "+index)
		}
		want(t, examine(t, &doctor.Doctor{DB: db}), "indexes", doctor.Fault, "index "+index+" of "+tables.Entries()+" is missing", "ON "+tables.Entries()+" (")
	})
}

func TestIndexes(t *testing.T) {
	t.Parallel()
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		t.Parallel()
		db := open(t, testdb.New(t, d))
		on := ""
		if d == testdb.MySQL {
			on = " ON outbox_entries"
		}
		exec(t, db, "DROP INDEX outbox_retry"+on, "DROP INDEX outbox_lane"+on, "CREATE INDEX outbox_lane ON outbox_entries (lane, id)")
		create := "CREATE INDEX outbox_retry ON outbox_entries ("
		if d == testdb.Postgres {
			create = "CREATE INDEX CONCURRENTLY outbox_retry ON outbox_entries (retry_at, id) WHERE retry_at IS NOT NULL AND"
		}
		findings := examine(t, &doctor.Doctor{DB: db})
		want(t, findings, "indexes", doctor.Fault, "index outbox_retry of outbox_entries is missing", create)
		want(t, findings, "indexes", doctor.Fault, "has the columns (lane, id), not (lane, causality_key, id)", "DROP INDEX outbox_lane"+on+"; then CREATE INDEX")
		if d == testdb.SQLite {
			return
		}
		for _, f := range findings { // what to do, done
			if f.Code == "indexes" {
				exec(t, db, strings.Split(f.Do, "; then ")...)
			}
		}
		want(t, examine(t, &doctor.Doctor{DB: db}), "indexes", doctor.OK, "indexes are there, and valid", "")
		if d == testdb.MySQL {
			exec(t, db, "ALTER TABLE outbox_entries ALTER INDEX outbox_lane IGNORED")
		} else {
			exec(t, db, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'outbox_lane'::regclass")
		}
		want(t, examine(t, &doctor.Doctor{DB: db}), "indexes", doctor.Fault, "index outbox_lane of outbox_entries is not valid", "DROP INDEX outbox_lane"+on+"; then CREATE INDEX")
	})
}

// An index that somebody else made is told of if nobody uses it, or if that
// can't be known. Those that workers make for Keep are theirs.
func TestForeignIndexes(t *testing.T) {
	t.Parallel()
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		t.Parallel()
		db := open(t, testdb.New(t, d))
		exec(t, db, "CREATE INDEX outbox_kept ON outbox_entries (processed_at)", "CREATE INDEX mine ON outbox_entries (event_name)")
		if d != testdb.Postgres {
			findings := examine(t, &doctor.Doctor{DB: db})
			want(t, findings, "indexes", doctor.Notice, "index mine of outbox_entries is not of the outbox", "DROP INDEX mine")
			for _, f := range findings {
				if f.Code == "indexes" && strings.Contains(f.Seen, "kept") {
					t.Errorf("%+v, want nothing of the outbox's own", f)
				}
			}
			return
		}
		want(t, examine(t, &doctor.Doctor{DB: db}), "indexes", doctor.OK, "", "")
		err := db.Transaction(func(tx *gorm.DB) error {
			exec(t, tx, "SET LOCAL enable_seqscan = off", "SET LOCAL enable_bitmapscan = off",
				"SELECT count(*) FROM generate_series(1, 10001) i, LATERAL (SELECT id FROM outbox_entries WHERE id = i LIMIT 1) e")
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the statistics know", func() bool {
			var scans int64
			err := db.Raw("SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelid = 'outbox_entries_pkey'::regclass").Scan(&scans).Error
			return err == nil && scans > 10_000
		})
		findings := examine(t, &doctor.Doctor{DB: db})
		want(t, findings, "indexes", doctor.Warning, "index mine of outbox_entries is not of the outbox, and was never used", "DROP INDEX mine")
		exec(t, db, "DROP INDEX mine")
		want(t, examine(t, &doctor.Doctor{DB: db}), "indexes", doctor.OK, "no harm: outbox_lane", "")
		exec(t, db, "CREATE INDEX mine ON outbox_entries (event_name)", "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'mine'::regclass")
		want(t, examine(t, &doctor.Doctor{DB: db}), "indexes", doctor.Warning, "not of the outbox, and not valid", "DROP INDEX mine")
	})
}

// eventually waits for what statistics tell late.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("after a minute, still not: %s", what)
		}
		<-time.After(20 * time.Millisecond)
	}
}

func TestStorage(t *testing.T) {
	t.Parallel()
	db := open(t, testdb.New(t, testdb.Postgres))
	exec(t, db, "ALTER TABLE outbox_claims SET UNLOGGED", "ALTER TABLE outbox_entries SET UNLOGGED")
	findings := examine(t, &doctor.Doctor{DB: db})
	want(t, findings, "storage", doctor.Fault, "outbox_claims is UNLOGGED", "ALTER TABLE outbox_claims SET LOGGED")
	want(t, findings, "storage", doctor.Warning, "outbox_entries is UNLOGGED", "unless every callback can be made up for")
	db = open(t, testdb.New(t, testdb.MySQL))
	exec(t, db, "ALTER TABLE outbox_key_locks ENGINE = MyISAM")
	want(t, examine(t, &doctor.Doctor{DB: db}), "storage", doctor.Fault, "outbox_key_locks has another engine than InnoDB, and is part of no transaction", "ENGINE = InnoDB")
}

func TestPartitions(t *testing.T) {
	t.Parallel()
	db := open(t, testdb.New(t, testdb.Postgres))
	day := func(from int) {
		t.Helper()
		at := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, from)
		exec(t, db, fmt.Sprintf("CREATE TABLE outbox_history_%s PARTITION OF outbox_history FOR VALUES FROM ('%s') TO ('%s')", at.Format("20060102"),
			at.Format("2006-01-02 15:04:05+00"), at.AddDate(0, 0, 1).Format("2006-01-02 15:04:05+00")))
	}
	day(-1)
	want(t, examine(t, &doctor.Doctor{DB: db}), "partitions", doctor.Fault, "no partition for today", "must own outbox_history")
	day(0)
	day(1)
	want(t, examine(t, &doctor.Doctor{DB: db}), "partitions", doctor.Warning, "for 1 days ahead, not 7", "must own outbox_history")
	for ahead := 2; ahead <= 7; ahead++ {
		day(ahead)
	}
	want(t, examine(t, &doctor.Doctor{DB: db}), "partitions", doctor.OK, "for 7 days ahead", "")
	exec(t, db, "DROP TABLE outbox_history_"+time.Now().UTC().Format("20060102"), "CREATE TABLE outbox_history_rest PARTITION OF outbox_history DEFAULT")
	want(t, examine(t, &doctor.Doctor{DB: db}), "partitions", doctor.OK, "default partition", "")
}
