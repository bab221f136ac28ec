package testdb

import (
	"context"
	"net"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// RoundTrips counts the round trips to a PostgreSQL: how often something is
// read after something was written.
type RoundTrips struct{ n atomic.Int64 }

// Of returns how many round trips f takes.
func (r *RoundTrips) Of(f func()) int64 {
	before := r.n.Load()
	f()
	return r.n.Load() - before
}

// OpenCounted connects to a PostgreSQL by one connection whose round trips are
// counted.
func (d DB) OpenCounted(t testing.TB) (*gorm.DB, *RoundTrips) {
	t.Helper()
	config, err := pgx.ParseConfig(d.URL)
	if err != nil {
		t.Fatal(err)
	}
	trips := new(RoundTrips)
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		return &countedConn{Conn: conn, trips: trips}, err
	}
	pool := stdlib.OpenDB(*config)
	t.Cleanup(func() { _ = pool.Close() })
	pool.SetMaxOpenConns(1)
	db, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		t.Fatal(err)
	}
	return db, trips
}

// countedConn is a connection whose round trips are counted.
type countedConn struct {
	net.Conn
	trips *RoundTrips
	asked atomic.Bool
}

// Write implements net.Conn.
func (c *countedConn) Write(p []byte) (int, error) {
	c.asked.Store(true)
	return c.Conn.Write(p)
}

// Read implements net.Conn.
func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && c.asked.Swap(false) {
		c.trips.n.Add(1)
	}
	return n, err
}
