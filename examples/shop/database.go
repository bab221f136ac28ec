package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/glebarez/sqlite"
	"gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// settingError is a mistake in how the program was started.
type settingError struct {
	name string
	err  error
	fix  string
}

// Error implements error.
func (e *settingError) Error() string { return fmt.Sprintf("%s: %v\n%s", e.name, e.err, e.fix) }

// Unwrap returns the cause.
func (e *settingError) Unwrap() error { return e.err }

const urlFix = "Set DATABASE_URL to postgres://user:password@host/database or mysql://user:password@host/database (MariaDB) of a server that runs, " +
	"or to sqlite:///path/to/file.db; without it, the demo uses an SQLite file of its own."

func wrongURL(err error) error { return &settingError{"DATABASE_URL", err, urlFix} }

// open connects to a database and installs the plugin. Worker and shop both
// open it like this.
func open(databaseURL string, callbacks *reliable.Registry) (*gorm.DB, error) {
	db, err := connect(databaseURL)
	if err != nil {
		return nil, wrongURL(err)
	}
	return db, db.Use(reliable.New(reliable.Config{Registry: callbacks}))
}

// connect connects to a database.
func connect(databaseURL string) (*gorm.DB, error) {
	config := &gorm.Config{
		Logger:  logger.Discard, // errors are returned
		NowFunc: func() time.Time { return time.Now().UTC() },
	}
	u, err := url.Parse(databaseURL)
	if err != nil {
		return nil, errors.New("not a URL") // the parser's own error would show the password
	}
	switch u.Scheme {
	case "postgres", "postgresql":
		return gorm.Open(postgres.Open(databaseURL), config)
	case "mysql":
		return gorm.Open(mysql.Open(mysqlDSN(u)), config)
	case "sqlite":
		// Writers queue for the one write lock of SQLite; each transaction asks
		// for it when it begins, since one that has read can't wait for it.
		return gorm.Open(sqlite.Open("file:"+u.EscapedPath()+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)"+
			"&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&_txlock=immediate"), config)
	default:
		return nil, fmt.Errorf("unknown scheme %q", u.Scheme)
	}
}

// mysqlDSN turns a URL into the form that the driver wants, with times in UTC.
func mysqlDSN(u *url.URL) string {
	user := u.User.Username()
	if password, ok := u.User.Password(); ok {
		user += ":" + password
	}
	return fmt.Sprintf("%s@tcp(%s)%s?parseTime=true&loc=UTC&charset=utf8mb4&tx_isolation=%%27READ-COMMITTED%%27&time_zone=%%27%%2B00%%3A00%%27", user, u.Host, "/"+strings.TrimPrefix(u.Path, "/"))
}

// place is a database of the demo's own: a schema on PostgreSQL, a database on
// MariaDB, a file on SQLite.
type place struct {
	URL  string
	Name string // for people
	drop func(context.Context) error
}

// newPlace makes one where databaseURL says, or in dir if it says nothing.
func newPlace(ctx context.Context, databaseURL, dir string) (place, error) {
	if databaseURL == "" {
		databaseURL = (&url.URL{Scheme: "sqlite", Path: filepath.ToSlash(filepath.Join(dir, "shop.db"))}).String()
	}
	u, err := url.Parse(databaseURL)
	if err != nil {
		return place{}, wrongURL(errors.New("not a URL"))
	}
	if u.Scheme == "sqlite" {
		if _, err := os.Stat(u.Path); !errors.Is(err, fs.ErrNotExist) {
			return place{}, wrongURL(fmt.Errorf("%s exists: the demo makes and removes a file of its own", u.Path))
		}
		return place{databaseURL, "SQLite", func(context.Context) error { return removeFile(u.Path) }}, nil
	}
	db, err := connect(databaseURL)
	if err != nil {
		return place{}, wrongURL(err)
	}
	name := "shop_demo_" + strings.ToLower(rand.Text()[:10])
	run := func(ctx context.Context, statement string) error { return db.WithContext(ctx).Exec(statement).Error }
	if db.Name() == "mysql" {
		u.Path = "/" + name
		if err := run(ctx, "CREATE DATABASE "+name); err != nil {
			return place{}, wrongURL(err)
		}
		return place{u.String(), "MariaDB, database " + name, func(ctx context.Context) error {
			return errors.Join(run(ctx, "DROP DATABASE "+name), closeDB(db))
		}}, nil
	}
	query := u.Query()
	query.Set("search_path", name)
	u.RawQuery = query.Encode()
	if err := run(ctx, "CREATE SCHEMA "+name); err != nil {
		return place{}, wrongURL(err)
	}
	return place{u.String(), "PostgreSQL, schema " + name, func(ctx context.Context) error {
		return errors.Join(run(ctx, "DROP SCHEMA "+name+" CASCADE"), closeDB(db))
	}}, nil
}

// removeFile removes an SQLite database with its log.
func removeFile(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func closeDB(db *gorm.DB) error {
	pool, err := db.DB()
	if err != nil {
		return err
	}
	return pool.Close()
}
