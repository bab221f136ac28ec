// Package servers finds the database servers that tests run on, and starts
// throw-away ones from local programs where none run.
//
// A throw-away server listens on loopback only, keeps its data in a directory
// of its own below [os.TempDir], and dies with the process that started it
// (on Linux even if that is killed). Nothing here touches a server that it did
// not start.
package servers

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	_ "github.com/go-sql-driver/mysql" // for sql.Open
	_ "github.com/jackc/pgx/v5/stdlib" // for sql.Open
)

// Kind is a kind of server, by the name that messages use.
type Kind string

// The kinds that tests need.
const (
	Postgres Kind = "PostgreSQL"
	MariaDB  Kind = "MariaDB"
	Redis    Kind = "Redis"
)

// Kinds returns all kinds.
func Kinds() []Kind { return []Kind{Postgres, MariaDB, Redis} }

// Variable names the environment variable that holds the URL of the server.
func (k Kind) Variable() string {
	switch k {
	case Postgres:
		return "RELIABLE_TEST_POSTGRES_URL"
	case MariaDB:
		return "RELIABLE_TEST_MYSQL_URL"
	default:
		return "RELIABLE_TEST_REDIS_URL"
	}
}

// standard returns the URLs of a server on its standard port.
func (k Kind) standard() []string {
	switch k {
	case Postgres:
		return []string{
			"postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable", "postgres://root@127.0.0.1:5432/postgres?sslmode=disable",
		}
	case MariaDB:
		return []string{"mysql://root@127.0.0.1:3306/"}
	default:
		return []string{"redis://127.0.0.1:6379/0"}
	}
}

// ErrNotRunning means that no server of the kind was named and none answers on
// the standard port.
var ErrNotRunning = errors.New("not running")

// Find returns the URL of a server that answers: the one that the environment
// names, else one on the standard port. A named one that does not answer is an
// error, and no other is tried; [ErrNotRunning] means that none was named.
func Find(ctx context.Context, k Kind) (string, error) {
	if address := os.Getenv(k.Variable()); address != "" {
		if err := Answers(ctx, address); err != nil {
			return "", fmt.Errorf("%s: the %s that %s names: %w", k, redacted(address), k.Variable(), err)
		}
		return address, nil
	}
	var last error
	for _, address := range k.standard() {
		if last = Answers(ctx, address); last == nil {
			return address, nil
		}
	}
	return "", fmt.Errorf("%s: %w: %w", k, ErrNotRunning, last)
}

// Answers returns nil if the server at address lets the user in and answers
// within ten seconds.
func Answers(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if strings.HasPrefix(address, "redis://") {
		conn, err := DialRedis(ctx, address)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		_, err = conn.Do("PING")
		return err
	}
	pool, err := OpenSQL(address)
	if err != nil {
		return err
	}
	defer func() { _ = pool.Close() }()
	return pool.PingContext(ctx)
}

// OpenSQL prepares a pool of connections for a postgres:// or mysql:// URL.
func OpenSQL(address string) (*sql.DB, error) {
	if !strings.HasPrefix(address, "mysql://") {
		return sql.Open("pgx", address)
	}
	dsn, err := DSN(address)
	if err != nil {
		return nil, err
	}
	return sql.Open("mysql", dsn)
}

// DSN turns a mysql:// URL into the driver's own form.
func DSN(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", fmt.Errorf("MariaDB's URL: %w", err)
	}
	user := u.User.Username()
	if password, ok := u.User.Password(); ok {
		user += ":" + password
	}
	return fmt.Sprintf("%s@tcp(%s)/%s?parseTime=true&loc=UTC&charset=utf8mb4&time_zone=%%27%%2B00%%3A00%%27",
		user, u.Host, strings.TrimPrefix(u.Path, "/")), nil
}

func redacted(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "URL"
	}
	return u.Redacted()
}
