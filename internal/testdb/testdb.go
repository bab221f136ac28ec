// Package testdb gives each test a database of its own: a schema on
// PostgreSQL, a database on MariaDB, a file on SQLite, a prefix of keys on Redis.
//
// It uses the servers that RELIABLE_TEST_POSTGRES_URL, RELIABLE_TEST_MYSQL_URL
// and RELIABLE_TEST_REDIS_URL name, else those on the standard ports of
// loopback. Command testservers, which make test uses, starts throw-away ones
// where neither answers. A test without its server fails; it never skips.
package testdb

import (
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/glebarez/sqlite"
	"gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// Dialect is a kind of database, by GORM's name for it.
type Dialect string

// The supported databases. MySQL stands for MariaDB.
const (
	Postgres Dialect = "postgres"
	MySQL    Dialect = "mysql"
	SQLite   Dialect = "sqlite"
)

// String returns "postgres", "mariadb" or "sqlite".
func (d Dialect) String() string {
	if d == MySQL {
		return "mariadb"
	}
	return string(d)
}

// Only is the environment variable that, if it names a database ("postgres"),
// makes Each run on no other: the versions of one server are compared without
// testing the others again.
const Only = "RELIABLE_TEST_ONLY"

// Each runs f as a subtest for every supported database.
func Each(t *testing.T, f func(t *testing.T, d Dialect)) {
	t.Helper()
	for _, d := range []Dialect{Postgres, MySQL, SQLite} {
		if only := os.Getenv(Only); only == "" || only == d.String() {
			t.Run(d.String(), func(t *testing.T) { f(t, d) })
		}
	}
}

// DB is an empty database that lives as long as its test.
type DB struct {
	Dialect Dialect
	URL     string // for another process: postgres://, mysql:// or sqlite://
}

// New makes an empty database.
func New(t testing.TB, d Dialect) DB {
	t.Helper()
	switch d {
	case Postgres:
		if through := os.Getenv(PoolerVariable); through != "" {
			return (&Pooler{server: server(t, PostgreSQL), url: through}).New(t)
		}
		return newOn(t, d, server(t, PostgreSQL))
	case MySQL:
		return newOn(t, d, server(t, MariaDB))
	default:
		return DB{d, "sqlite://" + filepath.Join(t.TempDir(), "test.db")}
	}
}

// New makes an empty database on a throw-away PostgreSQL or MariaDB.
func (s *Server) New(t testing.TB) DB {
	t.Helper()
	if s.Service == MariaDB {
		return newOn(t, MySQL, s.URL)
	}
	return newOn(t, Postgres, s.URL)
}

// newOn makes a schema on PostgreSQL, a database on MariaDB.
func newOn(t testing.TB, d Dialect, base string) DB {
	t.Helper()
	name := newName()
	if d == Postgres {
		admin(t, "pgx", base, `CREATE SCHEMA `+name)
		t.Cleanup(func() { admin(t, "pgx", base, `DROP SCHEMA `+name+` CASCADE`) })
		return DB{d, withQuery(t, base, "search_path", name)}
	}
	admin(t, "mysql", dsn(t, base), `CREATE DATABASE `+name)
	t.Cleanup(func() { admin(t, "mysql", dsn(t, base), `DROP DATABASE `+name) })
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return DB{d, u.String()}
}

// Open connects to the database; the connection is closed with the test.
func (d DB) Open(t testing.TB, opts ...gorm.Option) *gorm.DB {
	t.Helper()
	db, err := OpenURL(d.URL, opts...)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close() })
	return db
}

// OpenURL connects to a database by a URL as in DB.URL, with the settings that
// each driver needs.
func OpenURL(address string, opts ...gorm.Option) (*gorm.DB, error) {
	opts = append([]gorm.Option{&gorm.Config{Logger: logger.Discard}}, opts...)
	scheme, rest, _ := strings.Cut(address, "://")
	switch scheme {
	case "postgres", "postgresql":
		return gorm.Open(postgres.Open(address), opts...)
	case "mysql":
		config, err := mysqlDSN(address)
		if err != nil {
			return nil, err
		}
		return gorm.Open(mysql.Open(config), opts...)
	case "sqlite":
		return gorm.Open(sqlite.Open("file:"+rest+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=foreign_keys(1)"+
			"&_pragma=synchronous(FULL)&_txlock=immediate"), opts...)
	default:
		return nil, fmt.Errorf("testdb: %q: want postgres://, mysql:// or sqlite://", scheme)
	}
}

// admin runs one statement on a connection of its own.
func admin(t testing.TB, driver, address, statement string) {
	t.Helper()
	pool, err := sql.Open(driver, address)
	if err == nil {
		_, err = pool.ExecContext(t.Context(), statement)
		if t.Context().Err() != nil { // in Cleanup
			_, err = pool.Exec(statement)
		}
		_ = pool.Close()
	}
	if err != nil {
		t.Errorf("testdb: %s: %v", statement, err)
	}
}

func withQuery(t testing.TB, address, key, value string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set(key, value)
	u.RawQuery = q.Encode()
	return u.String()
}

func dsn(t testing.TB, address string) string {
	t.Helper()
	config, err := mysqlDSN(address)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// mysqlDSN turns a URL into the driver's own form; its query is kept.
func mysqlDSN(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", fmt.Errorf("testdb: %w", err)
	}
	user := u.User.Username()
	if password, ok := u.User.Password(); ok {
		user += ":" + password
	}
	return fmt.Sprintf("%s@tcp(%s)/%s?parseTime=true&loc=UTC&charset=utf8mb4&time_zone=%%27%%2B00%%3A00%%27&%s",
		user, u.Host, strings.TrimPrefix(u.Path, "/"), u.RawQuery), nil
}
