package doctor_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/outbox/doctor"
)

// with returns a database with a setting more in its address.
func with(t *testing.T, d testdb.DB, key, value string) testdb.DB {
	t.Helper()
	u, err := url.Parse(d.URL)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set(key, value)
	u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20")
	return testdb.DB{Dialect: d.Dialect, URL: u.String()}
}

// shadowed returns a PostgreSQL in which a function is not the server's own.
func shadowed(t *testing.T, d testdb.DB, function string) testdb.DB {
	t.Helper()
	db := d.Open(t)
	var schema string
	if err := db.Raw("SELECT current_schema()").Scan(&schema).Error; err != nil {
		t.Fatal(err)
	}
	exec(t, db, "CREATE FUNCTION "+schema+"."+function)
	return with(t, d, "search_path", schema+",pg_catalog")
}

func TestPool(t *testing.T) {
	t.Parallel()
	db := open(t, testdb.New(t, testdb.SQLite))
	want(t, examine(t, &doctor.Doctor{DB: db, Threads: 8, Pool: 4}), "connections", doctor.Warning, "8 callbacks at once share 4 connections", "set DB_POOL to 10")
}

// What workers may want is held against what the server takes.
func TestConnections(t *testing.T) {
	t.Parallel()
	for d, limit := range map[testdb.Dialect]string{testdb.Postgres: "current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int", testdb.MySQL: "@@max_connections"} {
		t.Run(d.String(), func(t *testing.T) {
			t.Parallel()
			db := open(t, testdb.New(t, d))
			var most int
			if err := db.Raw("SELECT " + limit).Scan(&most).Error; err != nil {
				t.Fatal(err)
			}
			threads := func(n int) {
				t.Helper()
				exec(t, db, "DELETE FROM outbox_workers", "INSERT INTO outbox_workers (id, processor, lease_ms, threads, hostname, pid, beat_at) VALUES ('lost', 'non_ordered', 1000, 500, 'host-a', 7, '2026-01-05 10:00:00')",
					fmt.Sprintf("INSERT INTO outbox_workers (id, processor, lease_ms, threads, hostname, pid) VALUES ('a', 'non_ordered', 3600000, %d, 'host-b', 8), ('b', 'non_ordered', 3600000, 1, 'host-b', 9)", n-15))
			}
			threads(most + 1)
			want(t, examine(t, &doctor.Doctor{DB: db}), "connections", doctor.Warning, fmt.Sprintf("2 workers with %d threads may want %d connections, and max_connections is %d", most-13, most+1, most), "raise max_connections")
			threads(most)
			want(t, examine(t, &doctor.Doctor{DB: db}), "connections", doctor.Notice, fmt.Sprintf("of the %d that max_connections allows", most), "twice as many")
		})
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	url := testdb.New(t, testdb.Postgres)
	open(t, url)
	ahead := shadowed(t, url, "clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT pg_catalog.clock_timestamp() + interval ''1 hour'''")
	want(t, examine(t, &doctor.Doctor{DB: plugged(t, ahead)}), "clock", doctor.Warning, " ahead of this host's", "NTP")
	url = testdb.New(t, testdb.MySQL)
	open(t, url)
	behind := with(t, url, "timestamp", fmt.Sprint(time.Now().Add(-time.Hour).Unix()))
	want(t, examine(t, &doctor.Doctor{DB: plugged(t, behind)}), "clock", doctor.Warning, " behind this host's", "NTP")
}

// A pooler is told, and connections behind it are the server's: what is open is
// held against what the database takes.
func TestPooler(t *testing.T) {
	t.Parallel()
	db := open(t, testdb.StartPooler(t).New(t))
	exec(t, db, "INSERT INTO outbox_workers (id, processor, lease_ms, threads, hostname, pid) VALUES ('a', 'non_ordered', 3600000, 10000, 'host-b', 8)")
	findings := examine(t, &doctor.Doctor{DB: db})
	want(t, findings, "listen", doctor.Warning, "a pooler gives each transaction another session", "Worker.Own")
	want(t, findings, "connections", doctor.OK, "", "")
	want(t, examine(t, &doctor.Doctor{DB: db, NoListen: true}), "listen", doctor.OK, "they poll", "")
	exec(t, db, "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT 1', current_database()); END $$")
	want(t, examine(t, &doctor.Doctor{DB: db}), "connections", doctor.Warning, "CONNECTION LIMIT of the database is 1", "find who holds them")
}

func TestNotificationIsLost(t *testing.T) {
	t.Parallel()
	url := testdb.New(t, testdb.Postgres)
	open(t, url)
	lost := shadowed(t, url, "pg_notify(text, text) RETURNS void LANGUAGE sql AS ''")
	want(t, examine(t, &doctor.Doctor{DB: plugged(t, lost), Timeout: 2 * time.Second}), "listen", doctor.Warning, "did not arrive within 2s", "a pooler or proxy")
}

// wrapper makes connections whose driver is not to be seen.
type wrapper struct{ driver.Connector }

// Connect implements [driver.Connector].
func (w wrapper) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := w.Connector.Connect(ctx)
	return wrapped{c}, err
}

type wrapped struct{ driver.Conn }

func TestDriverCantListen(t *testing.T) {
	t.Parallel()
	url := testdb.New(t, testdb.Postgres)
	open(t, url)
	pgx, err := stdlib.GetDefaultDriver().(driver.DriverContext).OpenConnector(url.URL)
	if err != nil {
		t.Fatal(err)
	}
	pool := sql.OpenDB(wrapper{pgx})
	t.Cleanup(func() { _ = pool.Close() })
	db, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}))
	if err != nil {
		t.Fatal(err)
	}
	plug(t, db)
	findings := examine(t, &doctor.Doctor{DB: db})
	want(t, findings, "listen", doctor.Warning, "this program's driver can't wait", "pgx")
	if err := pool.PingContext(t.Context()); err != nil || strings.Contains(fmt.Sprint(findings), "bad connection") {
		t.Errorf("the program's pool: %v, %v, want it to be left alone", err, findings)
	}
}
