package worker_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/glebarez/sqlite"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// A RunTx that reads before it writes gets along with other writers, also where
// SQLite's transactions begin as readers, which is its default.
func TestRunTxReadsFirstOnSQLite(t *testing.T) {
	path := strings.TrimPrefix(testdb.New(t, testdb.SQLite).URL, "sqlite://")
	open := func(busy string) *gorm.DB {
		db, err := gorm.Open(sqlite.Open("file:"+path+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout("+busy+")"), &gorm.Config{Logger: logger.Discard})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if pool, err := db.DB(); err == nil {
				_ = pool.Close()
			}
		})
		return db
	}
	db, other := open("10000"), open("20")
	r := new(reliable.Registry)
	reliable.AfterCommit(r, reliable.Callback[Order]{Name: "book", RunTx: func(_ context.Context, tx *gorm.DB, c reliable.Change[Order]) error {
		if err := tx.First(&Order{}, c.Model.ID).Error; err != nil {
			return err
		}
		_ = other.Exec("UPDATE bookings SET order_id = order_id + 1").Error // it may fail: then it is late
		return book(tx, c)
	}})
	if err := errors.Join(db.AutoMigrate(&Order{}, &Booking{}), db.Use(reliable.New(reliable.Config{Registry: r})), migrations.Up(t.Context(), db),
		db.Create(&Booking{OrderID: 99}).Error); err != nil {
		t.Fatal(err)
	}
	start(t, &worker.Worker{DB: db, PollInterval: 20 * time.Millisecond})
	if err := db.Create(&Order{}).Error; err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is booked", func() bool { return count(t, db, "SELECT count(*) FROM outbox_history WHERE attempts = 0") == 1 })
}
