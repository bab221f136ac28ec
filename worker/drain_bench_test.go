package worker_test

import (
	"context"
	"sync/atomic"
	"testing"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// BenchmarkDrain measures how long an entry takes, of a backlog of b.N entries
// with a callback that does nothing.
func BenchmarkDrain(b *testing.B) {
	for _, d := range []testdb.Dialect{testdb.Postgres, testdb.MySQL, testdb.SQLite} {
		b.Run(d.String(), func(b *testing.B) {
			done := make(chan struct{})
			var runs atomic.Int64
			r := new(reliable.Registry)
			reliable.AfterCreateCommit(r, "nothing", func(context.Context, reliable.Change[Order]) error {
				if runs.Add(1) == int64(b.N) {
					close(done)
				}
				return nil
			})
			db := testdb.New(b, d).Open(b)
			if err := db.AutoMigrate(&Order{}); err != nil {
				b.Fatal(err)
			}
			if err := db.Use(reliable.New(reliable.Config{Registry: r})); err != nil {
				b.Fatal(err)
			}
			if err := migrations.Up(b.Context(), db); err != nil {
				b.Fatal(err)
			}
			seed(b, db, b.N)
			ctx, cancel := context.WithCancel(b.Context())
			b.ResetTimer()
			go func() { <-done; cancel() }()
			if err := (&worker.Worker{DB: db, Threads: 4}).Run(ctx); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

// seed commits n changes, and lets the database look at them.
func seed(b *testing.B, db *gorm.DB, n int) {
	b.Helper()
	orders := make([]Order, n)
	if err := db.CreateInBatches(&orders, 1000).Error; err != nil {
		b.Fatal(err)
	}
	if db.Name() == "postgres" {
		for _, table := range []string{"outbox_entries", "orders"} {
			if err := db.Exec("VACUUM ANALYZE " + table).Error; err != nil {
				b.Fatal(err)
			}
		}
	}
}
