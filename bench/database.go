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

// payload is what an entry of either side carries besides its id: as much as
// the changeset of a small model.
const payload = `{"v":1,"key":{"id":4711},"set":{"customer":[null,"Ann Example"],"email":[null,"ann@example.com"],"status":[null,"new"],` +
	`"total":[null,1900],"created_at":[null,{"t":"2026-11-24T08:00:00.123456Z"}]}}`

// bench is a PostgreSQL that both sides use.
type bench struct {
	url      string
	settings map[string]string // of every connection, besides those that in makes
}

// open finds the server.
func open(ctx context.Context) (*bench, error) {
	address := os.Getenv("DATABASE_URL")
	if address == "" {
		address = standard
	}
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("no PostgreSQL: set DATABASE_URL (example: postgres://user:pass@host/db): %w", err)
	}
	return &bench{url: address}, conn.Close(ctx)
}

// in runs f with the URL of a schema of its own, without JIT and parallel
// plans, and returns f's rate.
func (b *bench) in(ctx context.Context, f func(schema, url string) (float64, error)) (rate float64, err error) {
	schema := "bench_" + strings.ToLower(rand.Text()[:10])
	if err := b.exec(ctx, "CREATE SCHEMA "+schema); err != nil {
		return 0, err
	}
	defer func() {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, b.exec(cleanup, "DROP SCHEMA "+schema+" CASCADE"))
	}()
	u, err := url.Parse(b.url)
	if err != nil {
		return 0, err
	}
	query := u.Query()
	query.Set("search_path", schema)
	query.Set("jit", "off")
	query.Set("max_parallel_workers_per_gather", "0")
	for name, value := range b.settings {
		query.Set(name, value)
	}
	u.RawQuery = query.Encode()
	return f(schema, u.String())
}

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

// settle gives both sides the same start: fresh statistics, no page to write,
// no garbage of the seeding.
func (b *bench) settle(ctx context.Context, tables ...string) error {
	runtime.GC()
	var statements []string
	for _, table := range tables {
		statements = append(statements, "VACUUM ANALYZE "+table)
	}
	return b.exec(ctx, append(statements, "CHECKPOINT")...)
}

// until waits until a query answers want, and returns how long that was after
// begun. It gives up when ctx is done.
func (b *bench) until(ctx context.Context, begun time.Time, query string, want int) (time.Duration, error) {
	conn, err := pgx.Connect(ctx, b.url)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close(ctx) }()
	for {
		var got int
		if err := conn.QueryRow(ctx, query).Scan(&got); err != nil {
			return 0, err
		}
		if got == want {
			return time.Since(begun), nil
		}
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(2 * time.Millisecond):
		}
	}
}
