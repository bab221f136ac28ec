package reliable_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/glebarez/sqlite"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

type Order struct {
	ID    uint
	Email string
	Total int64
}

// Callbacks says what is owed. The web process and the worker share it.
func Callbacks(send func(ctx context.Context, to, key string) error) *reliable.Registry {
	r := new(reliable.Registry)
	reliable.AfterCommit(r, reliable.Callback[Order]{
		Name: "receipt",
		On:   reliable.OpCreate,
		If:   func(c reliable.Change[Order]) bool { return c.Model.Total > 0 },
		Run: func(ctx context.Context, c reliable.Change[Order]) error {
			return send(ctx, c.Model.Email, c.IdempotencyKey())
		},
	})
	return r
}

func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	send := func(_ context.Context, to, key string) error {
		fmt.Printf("receipt to %s, key %s\n", to, key)
		stop()
		return nil
	}
	db, closeDB := openExample()
	defer closeDB()

	err := db.Use(reliable.New(reliable.Config{Registry: Callbacks(send)}))
	check(err)
	err = migrations.Up(ctx, db)
	check(err)
	err = db.Create(&Order{Email: "ann@example.com", Total: 1200}).Error // recorded with the order
	check(err)
	err = (&worker.Worker{DB: db}).Run(ctx) // sends the receipt
	check(err)
	// Output: receipt to ann@example.com, key 1/receipt
}

// openExample connects to an SQLite file with the orders' table.
func openExample() (db *gorm.DB, closeDB func()) {
	dir, err := os.MkdirTemp("", "example-")
	check(err)
	db, err = gorm.Open(sqlite.Open("file:" + filepath.Join(dir, "shop.db") + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_txlock=immediate"))
	check(err)
	check(db.AutoMigrate(&Order{}))
	return db, func() {
		pool, err := db.DB()
		check(err)
		check(pool.Close())
		check(os.RemoveAll(dir))
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
