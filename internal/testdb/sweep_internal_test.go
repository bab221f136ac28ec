package testdb

import (
	"database/sql"
	"fmt"
	"testing"
	"time"
)

// What killed runs left is dropped; what runs, or is somebody else's, is not.
func TestSweep(t *testing.T) {
	old, young := time.Now().Add(-2*time.Hour).Unix(), time.Now().Unix()
	const schemata = "information_schema.schemata WHERE schema_name"
	for _, kind := range []struct {
		s            Service
		word, listed string
	}{{PostgreSQL, "SCHEMA", schemata}, {PostgreSQL, "DATABASE", "pg_database WHERE datname"}, {MariaDB, "DATABASE", schemata}} {
		s, word := kind.s, kind.word
		t.Run(s.String()+" "+word, func(t *testing.T) {
			address := server(t, s)
			driver, target := "pgx", address
			if s == MariaDB {
				driver, target = "mysql", dsn(t, address)
			}
			unique := newName()[len(prefix):]
			names := map[string]bool{ // whether it stays
				fmt.Sprintf("%s%d_%s", prefix, old, unique[11:]): false, fmt.Sprintf("%s%d_%s", prefix, young, unique[11:]): true,
				"mine_" + unique: true, prefix + "x" + unique: true,
			}
			for name := range names {
				admin(t, driver, target, "CREATE "+word+" "+name)
				t.Cleanup(func() { admin(t, driver, target, "DROP "+word+" IF EXISTS "+name) })
			}
			sweep(t, s, address)
			pool, err := sql.Open(driver, target)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = pool.Close() }()
			for name, stays := range names {
				var n int
				if err := pool.QueryRow("SELECT count(*) FROM " + kind.listed + " = '" + name + "'").Scan(&n); err != nil {
					t.Fatal(err)
				}
				if (n == 1) != stays {
					t.Errorf("%s is there: %v, want %v", name, n == 1, stays)
				}
			}
		})
	}
}
