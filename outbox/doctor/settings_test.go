package doctor_test

import (
	"testing"

	"github.com/glebarez/sqlite"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/outbox/doctor"
	"github.com/gorm-aftercommit/aftercommit/processors/redislock"
)

func TestPostgresSettings(t *testing.T) {
	t.Parallel()
	url := testdb.New(t, testdb.Postgres)
	open(t, url)
	loose := with(t, with(t, url, "synchronous_commit", "off"), "default_transaction_read_only", "on")
	findings := examine(t, &doctor.Doctor{DB: plugged(t, loose)})
	want(t, findings, "settings", doctor.Warning, "synchronous_commit is off", "synchronous_commit = on")
	want(t, findings, "settings", doctor.Fault, "transaction_read_only is on", "target_session_attrs")
}

// Settings of the whole server are changed on one that no other test uses.
func TestMariaSettings(t *testing.T) {
	t.Parallel()
	url := testdb.Start(t, testdb.MariaDB).New(t)
	db := open(t, url)
	exec(t, db, "CREATE INDEX mine ON outbox_entries (event_name)", "SET GLOBAL userstat = 1, max_allowed_packet = 1048576, innodb_flush_log_at_trx_commit = 2, read_only = 1")
	db = plugged(t, with(t, url, "sql_mode", "''"))
	for range 3 {
		exec(t, db, "SELECT count(*) FROM information_schema.index_statistics, (SELECT version_id FROM outbox_migrations WHERE id > 0) m")
	}
	findings := examine(t, &doctor.Doctor{DB: db})
	want(t, findings, "settings", doctor.Fault, "read_only is ON", "primary")
	want(t, findings, "settings", doctor.Warning, "sql_mode is ''", "STRICT_TRANS_TABLES")
	want(t, findings, "settings", doctor.Warning, "max_allowed_packet is 1024 KiB", "16M or more")
	want(t, findings, "settings", doctor.Warning, "innodb_flush_log_at_trx_commit is 2", "= 1")
	want(t, findings, "indexes", doctor.OK, "4 indexes", "") // mine is counted, and others have not been used enough
	exec(t, db, "SET GLOBAL read_only = 0", "INSERT INTO outbox_entries (context, event_name) SELECT 'nobody', 'x' FROM seq_1_to_10000")
	exec(t, db, "SELECT count(*) FROM outbox_entries FORCE INDEX (PRIMARY) WHERE id > 0 AND attempts = 0")
	want(t, examine(t, &doctor.Doctor{DB: db}), "indexes", doctor.Warning, "index mine of outbox_entries is not of the outbox, and was never used", "DROP INDEX mine ON outbox_entries")
}

func TestSQLiteSettings(t *testing.T) {
	t.Parallel()
	file := testdb.New(t, testdb.SQLite).URL[len("sqlite://"):]
	db, err := gorm.Open(sqlite.Open("file:"+file+"?_pragma=synchronous(OFF)&_pragma=busy_timeout(0)"), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		t.Fatal(err)
	}
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close() })
	pool.SetMaxOpenConns(1)
	plug(t, db)
	migrate(t, db)
	exec(t, db, "PRAGMA query_only = 1")
	findings := examine(t, &doctor.Doctor{DB: db})
	want(t, findings, "settings", doctor.Warning, "journal_mode is delete", "journal_mode(WAL)")
	want(t, findings, "settings", doctor.Warning, "busy_timeout is 0", "busy_timeout(10000)")
	want(t, findings, "settings", doctor.Warning, "synchronous is OFF", "synchronous(FULL)")
	want(t, findings, "settings", doctor.Fault, "query_only is ON", "address")
}

func TestRedis(t *testing.T) {
	t.Parallel()
	db := open(t, testdb.New(t, testdb.SQLite))
	server := testdb.OwnRedis(t)
	locker, err := redislock.FromURL(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = locker.Close() })
	d := &doctor.Doctor{DB: db, Redis: locker.Evictions}
	want(t, examine(t, d), "redis", doctor.OK, "1 Redis keep what they hold", "")
	server.Do(t, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
	want(t, examine(t, d), "redis", doctor.Warning, "maxmemory-policy is allkeys-lru", "noeviction")
	server.Kill()
	want(t, examine(t, d), "redis", doctor.Unknown, "node #0", "reached")
}
