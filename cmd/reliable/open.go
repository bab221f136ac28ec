package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"

	"github.com/glebarez/sqlite"
	driver "github.com/go-sql-driver/mysql"
	"gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-aftercommit/aftercommit/cli"
)

const example = "postgres://user:password@host/database, mysql://user:password@host/database (MariaDB) or sqlite:///path/to/file.db"

// open connects to a database.
func open(address string) (*gorm.DB, error) {
	config := &gorm.Config{Logger: logger.Discard} // errors are returned
	u, err := url.Parse(address)
	if err != nil {
		return nil, wrong("is no URL") // the parser's own error would show the password
	}
	var dialector gorm.Dialector
	switch u.Scheme {
	case "postgres", "postgresql":
		dialector = postgres.Open(address)
	case "mysql":
		dsn, err := mysqlDSN(u)
		if err != nil {
			return nil, err
		}
		dialector = mysql.Open(dsn)
	case "sqlite":
		// Writers queue for the one write lock; each transaction asks for it when it
		// begins.
		dialector = sqlite.Open("file:" + u.Host + u.EscapedPath() + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=foreign_keys(1)" +
			"&_pragma=synchronous(FULL)&_txlock=immediate")
	default:
		return nil, wrong(fmt.Sprintf("has the scheme %q", u.Scheme))
	}
	db, err := gorm.Open(dialector, config)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", u.Redacted(), err)
	}
	return db, nil
}

func wrong(what string) error {
	return &cli.UsageError{Err: errors.New("the database's address " + what + ": want " + example)}
}

// mysqlDSN turns a URL into the form that the driver wants, with times in UTC.
// The URL's query is kept.
func mysqlDSN(u *url.URL) (string, error) {
	config, err := driver.ParseDSN("/?parseTime=true&loc=UTC&charset=utf8mb4&time_zone=%27%2B00%3A00%27&" + u.RawQuery)
	if err != nil {
		return "", wrong("has a query that the driver does not take")
	}
	config.User = u.User.Username()
	config.Passwd, _ = u.User.Password()
	config.Net, config.Addr = "tcp", u.Host
	if u.Port() == "" {
		config.Addr = net.JoinHostPort(u.Hostname(), "3306")
	}
	config.DBName = u.Path
	if len(u.Path) > 0 {
		config.DBName = u.Path[1:]
	}
	return config.FormatDSN(), nil
}
