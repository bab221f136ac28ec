package worker_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// An entry that can't be read fails alone, and says which column is to blame;
// its neighbours run. Columns that no callback asks for are not read (74).
func TestUnreadableEntriesFailAlone(t *testing.T) {
	tests := []struct{ column, value, says string }{
		{"changeset", `{"v":1,"key":{"id":1},"set":{"total":[1]}}`, "%column changeset%column total%"},
		{"changeset", `{"v":1,"key":{"id":{}}}`, "%column changeset%column id%"},
		{"changeset", `{"v":9}`, "%column changeset%version 9%"},
		{"headers", `[]`, "%column headers%"},
		{"callbacks", `7`, "%column callbacks%"},
	}
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		var l ledger
		r := new(reliable.Registry)
		reliable.AfterCreateCommit(r, "ask", func(_ context.Context, c reliable.Change[Order]) error {
			if c.Changed("Total") {
				l.add(c, "asked")
			}
			return nil
		})
		db := open(t, testdb.New(t, d), r)
		orders := make([]Order, len(tests)+1)
		if err := db.Create(&orders).Error; err != nil {
			t.Fatal(err)
		}
		for i, test := range tests {
			if err := db.Exec("UPDATE outbox_entries SET "+test.column+" = ? WHERE id = ?", test.value, i+1).Error; err != nil {
				t.Fatal(err)
			}
		}
		start(t, &worker.Worker{DB: db, PollInterval: 20 * time.Millisecond})
		for i, test := range tests {
			eventually(t, test.says, func() bool {
				var n int
				err := db.Raw("SELECT count(*) FROM outbox_entries WHERE id = ? AND attempts > 0 AND error_message LIKE ?", i+1, test.says).Scan(&n).Error
				return err == nil && n == 1
			})
		}
		eventually(t, "the entry that is well ran once", func() bool { return l.of("asked create 6") == 1 })
	})
}

// A database that is busy while the worker starts has its tables: nobody is
// told to migrate.
func TestBusyAtStart(t *testing.T) {
	url := testdb.New(t, testdb.SQLite)
	db, writer := open(t, url, new(reliable.Registry)), url.Open(t)
	if err := db.Exec("PRAGMA busy_timeout = 1").Error; err != nil {
		t.Fatal(err)
	}
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	pool.SetMaxOpenConns(1) // that one
	tx := writer.Begin()
	defer tx.Rollback()
	err = (&worker.Worker{DB: db}).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "busy") || strings.Contains(err.Error(), "migrat") {
		t.Errorf("Run() = %v, want that the database is busy", err)
	}
}
