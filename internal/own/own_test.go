package own_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-aftercommit/aftercommit/internal/own"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// open returns what own.Open does, and closes it with the test.
func open(t *testing.T, db *gorm.DB, plain bool) *sql.DB {
	t.Helper()
	pool, err := own.Open(db, plain)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close() })
	if shared, err := db.DB(); err != nil || shared == pool {
		t.Fatalf("Open() gave the handle's own pool, %v", err)
	}
	return pool
}

// text returns the one text that a query returns.
func text(t *testing.T, pool *sql.DB, query string) (s string) {
	t.Helper()
	if err := pool.QueryRowContext(t.Context(), query).Scan(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

// Connections of one's own are as the application's: address, settings, driver,
// hooks. What the application opened with is not changed.
func TestOpenConnectsAlike(t *testing.T) {
	url := testdb.New(t, testdb.Postgres).URL + "&TimeZone=Japan&application_name=alike"
	var hooks atomic.Int64
	hook := stdlib.OptionBeforeConnect(func(context.Context, *pgx.ConnConfig) error { hooks.Add(1); return nil })
	for name, config := range map[string]postgres.Config{
		"address": {DSN: url}, "driver by name": {DSN: url, DriverName: "pgx"}, "hook": {DSN: url, OptionOpenDB: []stdlib.OptionOpenDB{hook}},
	} {
		t.Run(name, func(t *testing.T) {
			dialector := postgres.New(config)
			db, err := gorm.Open(dialector, &gorm.Config{Logger: logger.Discard})
			if err != nil {
				t.Fatal(err)
			}
			pool, err := db.DB()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = pool.Close() }()
			before, options := hooks.Load(), len(dialector.(*postgres.Dialector).OptionOpenDB)
			mine := open(t, db, true)
			const settings = "SELECT concat_ws(' ', current_schema(), current_setting('TimeZone'), current_setting('application_name'))"
			if got, want := text(t, mine, settings), text(t, pool, settings); got != want || !strings.HasSuffix(got, " Japan alike") {
				t.Errorf("settings %q, want %q", got, want)
			}
			if name == "hook" && hooks.Load() == before {
				t.Error("the hook did not run")
			}
			if after := dialector.(*postgres.Dialector); len(after.OptionOpenDB) != options || after.PreferSimpleProtocol {
				t.Errorf("the dialector has changed: %+v", after.Config)
			}
		})
	}
}

// What was used once is not used again, unless it is kept.
func TestOpenKeepsNothingIdle(t *testing.T) {
	for _, d := range []testdb.Dialect{testdb.Postgres, testdb.MySQL} {
		pool := open(t, testdb.New(t, d).Open(t), false)
		if err := pool.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := pool.Stats().Idle; n != 0 {
			t.Errorf("%s: %d connections are idle, want 0", d, n)
		}
	}
}

// A plain pool leaves nothing prepared on its sessions.
func TestOpenPlain(t *testing.T) {
	db := testdb.New(t, testdb.Postgres).Open(t)
	for _, plain := range []bool{false, true} {
		conn, err := open(t, db, plain).Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var n, prepared int
		err = errors.Join(conn.QueryRowContext(t.Context(), "SELECT $1::int", 7).Scan(&n),
			conn.QueryRowContext(t.Context(), "SELECT count(*) FROM pg_prepared_statements").Scan(&prepared), conn.Close())
		if err != nil || n != 7 || prepared == 0 != plain {
			t.Errorf("plain %v: %d, %d prepared statements, %v", plain, n, prepared, err)
		}
	}
}

func TestOpenOnMariaDB(t *testing.T) {
	db := testdb.New(t, testdb.MySQL).Open(t)
	if zone := text(t, open(t, db, false), "SELECT @@session.time_zone"); zone != "+00:00" {
		t.Errorf("time zone %q, want that of the address", zone)
	}
	if address := db.Dialector.(*mysql.Dialector).DSN; strings.Contains(address, "Timeout") {
		t.Errorf("the dialector's address has changed: %s", address)
	}
}

// Where a second pool can't be had, or must not, the first is left alone.
func TestOpenShared(t *testing.T) {
	first := testdb.New(t, testdb.Postgres).Open(t)
	pool, err := first.DB()
	if err != nil {
		t.Fatal(err)
	}
	given, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}), &gorm.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for name, db := range map[string]*gorm.DB{"given a connection": given, "SQLite": testdb.New(t, testdb.SQLite).Open(t)} {
		if _, err := own.Open(db, false); !errors.Is(err, own.ErrShared) {
			t.Errorf("%s: Open() = %v, want ErrShared", name, err)
		}
	}
	if err := pool.PingContext(t.Context()); err != nil {
		t.Errorf("the given pool: %v", err)
	}
}

// A pooler is told from a server, also while others use it.
func TestPooled(t *testing.T) {
	check := func(url testdb.DB, want bool) {
		t.Helper()
		pool, err := url.Open(t).DB()
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if got, err := own.Pooled(t.Context(), pool); err != nil || got != want {
				t.Fatalf("Pooled() = %v, %v, want %v", got, err, want)
			}
		}
	}
	check(testdb.New(t, testdb.Postgres), false)
	behind := testdb.StartPooler(t).New(t)
	check(behind, true)
	ctx, stop := context.WithCancel(t.Context())
	var others sync.WaitGroup
	defer others.Wait()
	defer stop()
	for range 6 {
		db := behind.Open(t)
		others.Go(func() {
			for ctx.Err() == nil {
				_ = db.WithContext(ctx).Exec("SELECT pg_sleep(0.002)")
			}
		})
	}
	check(behind, true)
}
