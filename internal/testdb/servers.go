package testdb

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"
)

// known is where a dialect's server may be.
type known struct {
	variable string
	driver   string
	standard []string
}

func places(d Dialect) known {
	if d == Postgres {
		return known{"RELIABLE_TEST_POSTGRES_URL", "pgx", []string{
			"postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable", "postgres://root@127.0.0.1:5432/postgres?sslmode=disable",
		}}
	}
	return known{"RELIABLE_TEST_MYSQL_URL", "mysql", []string{"mysql://root@127.0.0.1:3306/"}}
}

var found sync.Map // of string by Dialect //nolint:gochecknoglobals // one look per test binary

// server returns the URL of a server that answers. It fails the test if there
// is none, saying what to do.
func server(t testing.TB, d Dialect) string {
	t.Helper()
	if address, ok := found.Load(d); ok {
		return address.(string)
	}
	k := places(d)
	candidates := k.standard
	if address := os.Getenv(k.variable); address != "" {
		candidates = []string{address}
	}
	var last error
	for _, address := range candidates {
		target := address
		if d == MySQL {
			target = dsn(t, address)
		}
		if last = ping(k.driver, target); last == nil {
			found.Store(d, address)
			return address
		}
	}
	t.Fatalf("testdb: no %s: %v\nstart one on its standard port, set %s, or run the tests with \"make test\", which starts the servers that it needs", d, last, k.variable)
	return ""
}

func ping(driver, address string) error {
	pool, err := sql.Open(driver, address)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer func() { _ = pool.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return pool.PingContext(ctx)
}
