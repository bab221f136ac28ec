package reliablepgx_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-aftercommit/aftercommit/contrib/reliablepgx"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Order owes a callback.
type Order struct {
	ID    uint
	Total int
}

// Note owes nothing.
type Note struct {
	ID   uint
	Text string
}

// counter counts wakes. It stands behind the Tracer as the application's own
// tracer, so that it sees a wake before another statement runs.
type counter struct {
	wake  <-chan struct{}
	wakes int
}

func (c *counter) look() {
	select {
	case <-c.wake:
		c.wakes++
	default:
	}
}

// TraceQueryStart implements [pgx.QueryTracer].
func (*counter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

// TraceQueryEnd implements [pgx.QueryTracer].
func (c *counter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) { c.look() }

// open returns a traced database with the plugin, and who counts its wakes.
func open(t *testing.T) (*gorm.DB, *counter) {
	t.Helper()
	return openURL(t, testdb.New(t, testdb.Postgres).URL)
}

func openURL(t *testing.T, address string) (*gorm.DB, *counter) {
	t.Helper()
	config, err := pgx.ParseConfig(address)
	if err != nil {
		t.Fatal(err)
	}
	count := new(counter)
	config.Tracer = multitracer.New(reliablepgx.Tracer{}, count)
	pool := stdlib.OpenDB(*config)
	t.Cleanup(func() { _ = pool.Close() })
	db, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		t.Fatal(err)
	}
	count.wake = install(t, db)
	return db, count
}

// install makes the tables, installs the plugin and returns its wakes.
func install(t *testing.T, db *gorm.DB) (wake <-chan struct{}) {
	t.Helper()
	registry := new(reliable.Registry)
	reliable.AfterCommit(registry, reliable.Callback[Order]{Name: "ship", Run: func(context.Context, reliable.Change[Order]) error { return nil }})
	registry.Handle("shop", "audit", reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error { return nil }))
	plugin := reliable.New(reliable.Config{Registry: registry})
	if err := errors.Join(db.AutoMigrate(&Order{}, &Note{}), db.Use(plugin), migrations.Up(t.Context(), db)); err != nil {
		t.Fatal(err)
	}
	wake, stop := plugin.Wakes()
	t.Cleanup(stop)
	return wake
}

var errNo = errors.New("no")

// pinned lets GORM write in a transaction that pgx began on the same
// connection, and lets end end it.
func pinned(db *gorm.DB, write func(tx *gorm.DB) error, end func(context.Context, *pgx.Conn, pgx.Tx) error) error {
	ctx := db.Statement.Context
	pool, err := db.DB()
	if err != nil {
		return err
	}
	conn, err := pool.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	var tx pgx.Tx
	raw := func(f func(conn *pgx.Conn) error) error {
		return conn.Raw(func(driver any) error { return f(driver.(*stdlib.Conn).Conn()) })
	}
	if err := raw(func(conn *pgx.Conn) (err error) { tx, err = conn.Begin(ctx); return err }); err != nil {
		return err
	}
	session := db.Session(&gorm.Session{Context: ctx})
	session.Statement.ConnPool = foreign{conn}
	return errors.Join(write(session), raw(func(conn *pgx.Conn) error { return end(ctx, conn, tx) }))
}

// foreign is a transaction that GORM did not begin and does not end.
type foreign struct{ gorm.ConnPool }

func (foreign) Commit() error   { return gorm.ErrInvalidTransaction }
func (foreign) Rollback() error { return gorm.ErrInvalidTransaction }

func batch(ctx context.Context, conn *pgx.Conn, queries ...string) error {
	b := new(pgx.Batch)
	for _, query := range queries {
		b.Queue(query)
	}
	return conn.SendBatch(ctx, b).Close()
}

// Each commit of a transaction that recorded entries wakes once, whoever ends
// it; nothing else wakes.
func TestWakesAtTheCommit(t *testing.T) {
	db, count := open(t)
	create := func(tx *gorm.DB) error { return tx.Create(&Order{Total: 1}).Error }
	for _, tt := range []struct {
		name  string
		write func(db *gorm.DB) error
		want  int
		fails bool
	}{
		{"default transaction", create, 1, false},
		{"no default transaction", func(db *gorm.DB) error { return create(db.Session(&gorm.Session{SkipDefaultTransaction: true})) }, 1, false},
		{"prepared statements", func(db *gorm.DB) error { return create(db.Session(&gorm.Session{PrepareStmt: true})) }, 1, false},
		{"batch of 1000", func(db *gorm.DB) error { return db.Create(make([]Order, 1000)).Error }, 1, false},
		{"Begin and Commit", func(db *gorm.DB) error {
			tx := db.Begin()
			return errors.Join(create(tx), create(tx), tx.Commit().Error)
		}, 1, false},
		{"two transactions", func(db *gorm.DB) error { return errors.Join(db.Transaction(create), db.Transaction(create)) }, 2, false},
		{"two at a time", func(db *gorm.DB) error {
			one, other := db.Begin(), db.Begin()
			return errors.Join(create(one), create(other), one.Commit().Error, other.Commit().Error)
		}, 2, false},
		{"nested", func(db *gorm.DB) error {
			return db.Transaction(func(tx *gorm.DB) error { return tx.Transaction(create) })
		}, 1, false},
		{"nested, rolled back in part", func(db *gorm.DB) error {
			return db.Transaction(func(tx *gorm.DB) error {
				_ = tx.Transaction(func(tx *gorm.DB) error { return errors.Join(create(tx), errNo) })
				return create(tx)
			})
		}, 1, false},
		{"Record", func(db *gorm.DB) error {
			return db.Transaction(func(tx *gorm.DB) error {
				_, err := reliable.Record(tx.Statement.Context, tx, reliable.Entry{Context: "shop", EventName: "opened"})
				return err
			})
		}, 1, false},
		{"reliable.Transaction", func(db *gorm.DB) error {
			return reliable.Transaction(db, func(tx *gorm.DB) error { return errors.Join(create(tx), create(tx)) })
		}, 1, false},
		{"reliable.Transaction, rolled back", func(db *gorm.DB) error {
			return reliable.Transaction(db, func(tx *gorm.DB) error { return errors.Join(create(tx), errNo) })
		}, 0, true},
		{"COMMIT as a statement", func(db *gorm.DB) error {
			tx := db.Begin()
			return errors.Join(create(tx), tx.Exec("COMMIT").Error, tx.Commit().Error)
		}, 1, false},
		{"COMMIT AND CHAIN", func(db *gorm.DB) error {
			tx := db.Begin()
			return errors.Join(create(tx), tx.Exec("COMMIT AND CHAIN").Error, tx.Commit().Error)
		}, 1, false},
		{"COMMIT among statements", func(db *gorm.DB) error {
			return pinned(db, create, func(ctx context.Context, conn *pgx.Conn, _ pgx.Tx) error {
				_, err := conn.Exec(ctx, "COMMIT; SELECT 1", pgx.QueryExecModeSimpleProtocol)
				return err
			})
		}, 1, false},
		{"COMMIT in a batch", func(db *gorm.DB) error {
			return pinned(db, create, func(ctx context.Context, conn *pgx.Conn, _ pgx.Tx) error {
				return batch(ctx, conn, "COMMIT", "SELECT 1")
			})
		}, 1, false},
		{"pgx commits", func(db *gorm.DB) error {
			return pinned(db, create, func(ctx context.Context, _ *pgx.Conn, tx pgx.Tx) error { return tx.Commit(ctx) })
		}, 1, false},
		{"pgx rolls back", func(db *gorm.DB) error {
			return pinned(db, create, func(ctx context.Context, _ *pgx.Conn, tx pgx.Tx) error { return tx.Rollback(ctx) })
		}, 0, false},
		{"ROLLBACK in a batch", func(db *gorm.DB) error {
			return pinned(db, create, func(ctx context.Context, conn *pgx.Conn, _ pgx.Tx) error {
				return batch(ctx, conn, "ROLLBACK", "SELECT 1")
			})
		}, 0, false},
		{"past pgx.Conn", func(db *gorm.DB) error {
			return pinned(db, create, func(ctx context.Context, conn *pgx.Conn, _ pgx.Tx) error {
				_, err := conn.PgConn().Exec(ctx, "COMMIT").ReadAll()
				return errors.Join(err, batch(ctx, conn, "SELECT 1"))
			})
		}, 1, false},
		{"rolled back", func(db *gorm.DB) error {
			return db.Transaction(func(tx *gorm.DB) error { return errors.Join(create(tx), errNo) })
		}, 0, true},
		{"Begin and Rollback", func(db *gorm.DB) error {
			tx := db.Begin()
			return errors.Join(create(tx), tx.Rollback().Error)
		}, 0, false},
		{"COMMIT of an aborted transaction", func(db *gorm.DB) error {
			tx := db.Begin()
			return errors.Join(create(tx), tx.Exec("SELECT 1/0").Error, tx.Commit().Error)
		}, 0, true},
		{"context cancelled", func(db *gorm.DB) error {
			ctx, cancel := context.WithCancel(db.Statement.Context)
			tx := db.WithContext(ctx).Begin()
			err := create(tx)
			cancel()
			return errors.Join(err, tx.Commit().Error)
		}, 0, true},
		{"nothing owed", func(db *gorm.DB) error { return db.Create(&Note{Text: "n"}).Error }, 0, false},
		{"nothing owed, Begin and Commit", func(db *gorm.DB) error {
			tx := db.Begin()
			return errors.Join(tx.Create(&Note{Text: "n"}).Error, tx.Commit().Error)
		}, 0, false},
		{"after a rollback, an empty commit", func(db *gorm.DB) error {
			return pinned(db, create, func(ctx context.Context, conn *pgx.Conn, tx pgx.Tx) error {
				return errors.Join(tx.Rollback(ctx), pgx.BeginFunc(ctx, conn, func(pgx.Tx) error { return nil }))
			})
		}, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			count.wakes = 0
			if err := tt.write(db.WithContext(t.Context())); (err != nil) != tt.fails {
				t.Fatalf("write: %v", err)
			}
			count.look()
			if count.wakes != tt.want {
				t.Errorf("%d wakes, want %d", count.wakes, tt.want)
			}
		})
	}
}
