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
	driver, drop := "pgx", `DROP SCHEMA IF EXISTS %s CASCADE`
	if s == MariaDB {
		driver, drop, address = "mysql", `DROP DATABASE IF EXISTS %s`, dsn(t, address)
	}
	pool, err := sql.Open(driver, address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pool.Close() }()
	rows, err := pool.QueryContext(t.Context(), "SELECT schema_name FROM information_schema.schemata")
	if err != nil {
		t.Fatalf("testdb: look for leftovers: %v", err)
	}
	defer func() { _ = rows.Close() }()
	var old []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		if leftOver(name, time.Now()) {
			old = append(old, name)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for _, name := range old {
		if _, err := pool.ExecContext(t.Context(), strings.Replace(drop, "%s", name, 1)); err != nil {
			t.Logf("testdb: %s is left: %v", name, err)
		}
	}
}
