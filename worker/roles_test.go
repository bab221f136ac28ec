package worker_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// as makes a role that may do what the owner of the tables may, but for what is
// the server's, and returns the database's URL for it.
func as(t *testing.T, db *gorm.DB, at testdb.DB, role string) testdb.DB {
	t.Helper()
	role = "reliable_test_" + role
	if err := db.Exec("DROP ROLE IF EXISTS " + role).Error; err != nil {
		t.Fatal(err)
	}
	if err := db.Exec("CREATE ROLE " + role + " LOGIN").Error; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Exec("DROP ROLE " + role) })
	if err := db.Exec("DO $$ BEGIN EXECUTE 'GRANT ' || quote_ident(current_user) || ' TO " + role + "'; END $$").Error; err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(at.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(role)
	return testdb.DB{Dialect: at.Dialect, URL: u.String()}
}

// A server that has become read-only is none to stay with: connections to it
// are given up, also those that were there before, until one finds a server
// that is not.
func TestReadOnlyServer(t *testing.T) {
	r := new(reliable.Registry)
	reliable.AfterCreateCommit(r, "x", func(context.Context, reliable.Change[Order]) error { return nil })
	at := testdb.New(t, testdb.Postgres)
	near := open(t, at, r)
	far := as(t, near, at, "demoted")
	db := open(t, far, r)
	refused := events(t, db, func(e *reliable.ErrorOccurred) bool { return strings.Contains(e.Err.Error(), "25006") })
	w := &worker.Worker{DB: db, PollInterval: 20 * time.Millisecond}
	h := w.Handler()
	start(t, w)
	worked(t, near, 1)
	for _, statement := range []string{
		"ALTER ROLE reliable_test_demoted SET default_transaction_read_only = on",
		"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'reliable_test_demoted'",
	} {
		if err := near.Exec(statement).Error; err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the worker is refused", func() bool { return refused.Load() > 2 })
	eventually(t, "it is not ready", func() bool { status, _ := get(h, "/readyz"); return status == http.StatusServiceUnavailable })
	if status, text := get(h, "/livez"); status != http.StatusOK {
		t.Errorf("/livez = %d, %q, want 200: another worker would do no better", status, text)
	}
	if err := near.Exec("ALTER ROLE reliable_test_demoted RESET default_transaction_read_only").Error; err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is ready", func() bool { status, _ := get(h, "/readyz"); return status == http.StatusOK })
	worked(t, near, 5)
}

// A server without room for the worker's connections is told at the start; one
// that has no more room later is waited for.
func TestNoConnectionLeft(t *testing.T) {
	r := new(reliable.Registry)
	reliable.AfterCreateCommit(r, "x", func(context.Context, reliable.Change[Order]) error { return nil })
	at := testdb.New(t, testdb.Postgres)
	near := open(t, at, r)
	far := as(t, near, at, "crowded")
	db := open(t, far, r)
	limit := func(n string) {
		t.Helper()
		if err := near.Exec("ALTER ROLE reliable_test_crowded CONNECTION LIMIT " + n).Error; err != nil {
			t.Fatal(err)
		}
	}
	limit("3")
	if err := (&worker.Worker{DB: db}).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "gives the worker no connection") || !strings.Contains(err.Error(), "53300") {
		t.Errorf("Run() = %v, want that there are too many connections", err)
	}
	limit("-1")
	refused := events(t, db, func(e *reliable.ErrorOccurred) bool { return strings.Contains(e.Err.Error(), "53300") })
	start(t, &worker.Worker{DB: db, PollInterval: 20 * time.Millisecond})
	worked(t, near, 1)
	limit("0")
	if err := near.Exec("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'reliable_test_crowded'").Error; err != nil {
		t.Fatal(err)
	}
	eventually(t, "the worker is refused", func() bool { return refused.Load() > 2 })
	limit("-1")
	worked(t, near, 5)
}
