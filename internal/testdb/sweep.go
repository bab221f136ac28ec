package testdb

import (
	"crypto/rand"
	"database/sql"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A killed test run leaves its databases behind. Their names say when they were
// made, so that a later run can drop them.
const (
	prefix  = "reliable_test_"
	leftFor = time.Hour
)

// newName returns a name for a database of a test: prefix, seconds since 1970,
// and something that no other test has.
func newName() string {
	return prefix + strconv.FormatInt(time.Now().Unix(), 10) + "_" + strings.ToLower(rand.Text()[:12])
}

// leftOver reports whether a name is one of newName's, and old.
func leftOver(name string, now time.Time) bool {
	rest, ours := strings.CutPrefix(name, prefix)
	seconds, _, ok := strings.Cut(rest, "_")
	made, err := strconv.ParseInt(seconds, 10, 64)
	return ours && ok && err == nil && now.Sub(time.Unix(made, 0)) > leftFor
}

// sweep drops what killed runs left on a server. What can't be dropped (another
// run may be at it, or a file was left in a database's folder) fails no test.
func sweep(t testing.TB, s Service, address string) {
	t.Helper()
	if s == Redis { // its keys end by themselves
		return
	}
	driver := "pgx"
	list := "SELECT schema_name, 'DROP SCHEMA IF EXISTS ' || schema_name || ' CASCADE' FROM information_schema.schemata" +
		" UNION ALL SELECT datname, 'DROP DATABASE IF EXISTS ' || datname || ' WITH (FORCE)' FROM pg_database"
	if s == MariaDB {
		driver, address = "mysql", dsn(t, address)
		list = "SELECT schema_name, concat('DROP DATABASE IF EXISTS ', schema_name) FROM information_schema.schemata"
	}
	pool, err := sql.Open(driver, address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pool.Close() }()
	rows, err := pool.QueryContext(t.Context(), list)
	if err != nil {
		t.Fatalf("testdb: look for leftovers: %v", err)
	}
	defer func() { _ = rows.Close() }()
	var old []string
	for rows.Next() {
		var name, drop string
		if err := rows.Scan(&name, &drop); err != nil {
			t.Fatal(err)
		}
		if leftOver(name, time.Now()) {
			old = append(old, drop)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for _, drop := range old {
		if _, err := pool.ExecContext(t.Context(), drop); err != nil {
			t.Logf("testdb: left over: %s: %v", drop, err)
		}
	}
}
