// Command otel is a worker, and a program that writes, with OpenTelemetry: the
// callbacks of an order are linked to the trace of the request that made it.
//
//	go run ./examples/otel worker      a worker, until SIGTERM
//	go run ./examples/otel write       ten requests, each with an order
//
// DATABASE_URL names the database: postgres://user:password@host/database, or
// sqlite:///path/to/file.db. Spans and metrics go where the variables of
// OpenTelemetry say, by default to an OTLP endpoint at localhost:4318; see
// exporters.go.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/glebarez/sqlite"
	"go.opentelemetry.io/otel/trace"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/contrib/reliableotel"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// Order is a model of the application.
type Order struct {
	ID    uint
	Total int
}

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) (exitCode int) {
	ctx := context.Background()
	if len(args) != 1 || (args[0] != "worker" && args[0] != "write") {
		fmt.Fprintln(os.Stderr, "usage: otel worker | write")
		return worker.ExitConfiguration
	}
	telemetry, err := exporters(ctx, os.Getenv)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return worker.ExitConfiguration
	}
	stop := func() error { return nil }
	defer func() {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if err := errors.Join(telemetry.shutdown(ctx), stop()); err != nil {
			fmt.Fprintln(os.Stderr, "telemetry:", err)
		}
	}()
	if args[0] == "write" {
		db, end, err := open(ctx, os.Getenv("DATABASE_URL"), telemetry)
		stop = end
		if err == nil {
			err = write(ctx, db, telemetry.traces.Tracer("examples/otel"))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return worker.ExitFailure
		}
		return worker.ExitClean
	}
	return worker.Main(func(ctx context.Context, databaseURL string) (*worker.Worker, error) {
		db, end, err := open(ctx, databaseURL, telemetry)
		stop = end
		if err != nil {
			return nil, err
		}
		return &worker.Worker{DB: db}, nil
	})
}

// open connects to the database, with the plugin and its telemetry. Worker and
// writer both open it like this. stop closes it; it is never nil.
func open(ctx context.Context, databaseURL string, t *telemetry) (db *gorm.DB, stop func() error, err error) {
	stop = func() error { return nil }
	if db, err = connect(databaseURL); err != nil {
		return nil, stop, err
	}
	pool, err := db.DB()
	if err != nil {
		return nil, stop, err
	}
	registry := new(reliable.Registry)
	reliable.AfterCreateCommit(registry, "receipt", func(context.Context, reliable.Change[Order]) error { return nil })
	config := reliable.Config{Registry: registry}
	stop, err = reliableotel.Telemetry{
		TracerProvider: t.traces, MeterProvider: t.metrics, Pools: map[string]*sql.DB{"application": pool},
	}.Install(&config)
	uninstall := stop
	stop = func() error { return errors.Join(uninstall(), pool.Close()) }
	if err != nil {
		return nil, stop, err
	}
	return db, stop, errors.Join(db.Use(reliable.New(config)), db.AutoMigrate(&Order{}), migrations.Up(ctx, db))
}

func connect(databaseURL string) (*gorm.DB, error) {
	u, err := url.Parse(databaseURL)
	if err != nil {
		return nil, errors.New("DATABASE_URL is not a URL") // the parser's own error would show the password
	}
	config := &gorm.Config{NowFunc: func() time.Time { return time.Now().UTC() }}
	switch u.Scheme {
	case "postgres", "postgresql":
		return gorm.Open(postgres.Open(databaseURL), config)
	case "sqlite":
		return gorm.Open(sqlite.Open("file:"+u.EscapedPath()+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=foreign_keys(1)&_txlock=immediate"), config)
	default:
		return nil, fmt.Errorf("DATABASE_URL has the scheme %q: want postgres://user:password@host/database or sqlite:///path/to/file.db", u.Scheme)
	}
}

// write makes ten requests.
func write(ctx context.Context, db *gorm.DB, tracer trace.Tracer) error {
	for i := range 10 {
		if err := request(ctx, db, tracer, i); err != nil {
			return err
		}
	}
	return nil
}

// request is one as a server would have it, with the span of its middleware.
func request(ctx context.Context, db *gorm.DB, tracer trace.Tracer, total int) error {
	ctx, span := tracer.Start(ctx, "POST /orders", trace.WithSpanKind(trace.SpanKindServer))
	defer span.End()
	return db.WithContext(ctx).Create(&Order{Total: total}).Error
}
