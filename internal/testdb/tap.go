package testdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"testing"

	"github.com/glebarez/sqlite"
	"gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// Heard is a call of a database's driver: its context, and the statement with
// its arguments, or "connect" or "begin".
type Heard func(ctx context.Context, query string, args []driver.NamedValue)

// Tap opens the database with a driver that tells of each call.
func (d DB) Tap(t testing.TB, heard Heard) *gorm.DB {
	t.Helper()
	plain := d.Open(t)
	pool, err := plain.DB()
	if err != nil {
		t.Fatal(err)
	}
	tapped := func(dsn string) *sql.DB {
		pool := sql.OpenDB(&tap{pool.Driver(), dsn, heard})
		t.Cleanup(func() { _ = pool.Close() })
		return pool
	}
	var dialector gorm.Dialector
	switch of := plain.Dialector.(type) {
	case *postgres.Dialector:
		dialector = postgres.New(postgres.Config{Conn: tapped(of.DSN)})
	case *mysql.Dialector:
		dialector = mysql.New(mysql.Config{Conn: tapped(of.DSN)})
	case *sqlite.Dialector:
		dialector = &sqlite.Dialector{Conn: tapped(of.DSN)}
	default:
		t.Fatalf("testdb: no tap for a dialector of type %T", of)
	}
	db, err := gorm.Open(dialector, &gorm.Config{Logger: logger.Discard})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// tap implements driver.Connector.
type tap struct {
	driver driver.Driver
	dsn    string
	heard  Heard
}

func (d *tap) Driver() driver.Driver { return d.driver }

func (d *tap) Connect(ctx context.Context) (driver.Conn, error) {
	d.heard(ctx, "connect", nil)
	conn, err := d.driver.Open(d.dsn)
	if err != nil {
		return nil, err
	}
	return &tappedConn{conn, d.heard}, nil
}

// tappedConn is a connection of a driver that has all the methods with a
// context, as the three here have.
type tappedConn struct {
	driver.Conn
	heard Heard
}

func (c *tappedConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	c.heard(ctx, "begin", nil)
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts)
}

func (c *tappedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.heard(ctx, query, args)
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}

func (c *tappedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.heard(ctx, query, args)
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

func (c *tappedConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	c.heard(ctx, query, nil)
	return c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
}

func (c *tappedConn) CheckNamedValue(v *driver.NamedValue) error {
	if checker, ok := c.Conn.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(v)
	}
	return driver.ErrSkip
}
