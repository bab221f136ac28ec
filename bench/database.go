package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

const standard = "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable"

// bench is a PostgreSQL that all sides use.
type bench struct {
	url      string
	settings map[string]string // of every connection, besides those that in makes
	peak     int64             // of the memory of a worker process before a large backlog, in bytes; 0 is not measured

	maxWorkers int // with which River is fastest; 0 is not measured
}

// open finds the server, and removes what runs that were killed left there.
func open(ctx context.Context) (*bench, error) {
	address := os.Getenv("DATABASE_URL")
	if address == "" {
		address = standard
	}
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("no PostgreSQL: set DATABASE_URL (example: postgres://user:pass@host/db): %w", err)
	}
	return &bench{url: address}, errors.Join(sweep(ctx, conn), conn.Close(ctx))
}

// sweep drops the schemas whose run has ended: its lock is free.
func sweep(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, `SELECT nspname FROM pg_namespace WHERE nspname ~ '^bench_[a-z2-7]{10}$'`)
	if err != nil {
		return err
	}
	schemas, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, schema := range schemas {
		var free bool
		if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock(hashtextextended($1, 0))", schema).Scan(&free); err != nil {
			return err
		}
		if !free {
			continue
		}
		if _, err := conn.Exec(ctx, "DROP SCHEMA IF EXISTS "+schema+" CASCADE"); err != nil {
			return fmt.Errorf("drop the leftover %s: %w", schema, err)
		}
	}
	return nil
}

// place is a schema that lives as long as what is measured in it.
type place struct {
	*bench
	schema string
	url    string // of connections whose search path it is, without JIT and parallel plans
	keyed  bool   // the entries get their causality keys from the table keys
}

// in runs f in a schema of its own, and drops that in the end, interrupted or
// not. A lock marks the schema as in use.
func (b *bench) in(ctx context.Context, f func(p place) error) (err error) {
	u, err := url.Parse(b.url)
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, b.url)
	if err != nil {
		return err
	}
	schema := "bench_" + strings.ToLower(rand.Text()[:10])
	defer func() {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, b.exec(cleanup, "DROP SCHEMA IF EXISTS "+schema+" CASCADE"), conn.Close(cleanup))
	}()
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock(hashtextextended('"+schema+"', 0))"); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "CREATE SCHEMA "+schema); err != nil {
		return err
	}
	query := u.Query()
	query.Set("search_path", schema)
	query.Set("application_name", schema)
	query.Set("jit", "off")
	query.Set("max_parallel_workers_per_gather", "0")
	for name, value := range b.settings {
		query.Set(name, value)
	}
	u.RawQuery = query.Encode()
	return f(place{bench: b, schema: schema, url: u.String()})
}

// exec runs statements, each in a transaction of its own.
func (b *bench) exec(ctx context.Context, statements ...string) error {
	conn, err := pgx.Connect(ctx, b.url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// ask reads one row.
func (b *bench) ask(ctx context.Context, query string, into ...any) error {
	conn, err := pgx.Connect(ctx, b.url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	return conn.QueryRow(ctx, query).Scan(into...)
}

// settle gives all sides the same start: fresh statistics, no page to write,
// no garbage of the seeding.
func (b *bench) settle(ctx context.Context, tables ...string) error {
	runtime.GC()
	var statements []string
	for _, table := range tables {
		statements = append(statements, "VACUUM ANALYZE "+table)
	}
	return b.exec(ctx, append(statements, "CHECKPOINT")...)
}

// until waits until each of the queries has answered true, one after the
// other, and returns the time at which the last one was asked: by then, it was
// true. It gives up when ctx is done.
func (b *bench) until(ctx context.Context, queries ...string) (asked time.Time, err error) {
	conn, err := pgx.Connect(ctx, b.url)
	if err != nil {
		return asked, err
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, "SET enable_seqscan = off"); err != nil { // they look at few rows of many
		return asked, err
	}
	for _, query := range queries {
		for is := false; !is; {
			asked = time.Now()
			err := conn.QueryRow(ctx, query).Scan(&is)
			switch {
			case ctx.Err() != nil:
				return asked, context.Cause(ctx)
			case err != nil:
				return asked, fmt.Errorf("%s: %w", query, err)
			case is:
				continue
			}
			select {
			case <-ctx.Done():
				return asked, context.Cause(ctx)
			case <-time.After(2 * time.Millisecond):
			}
		}
	}
	return asked, nil
}
