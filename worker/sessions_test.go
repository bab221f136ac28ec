package worker_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// named returns the database's URL under a name by which sessions tells its
// connections from those of other tests.
func named(url testdb.DB, name string) testdb.DB {
	if url.Dialect == testdb.Postgres {
		url.URL += "&application_name=" + name
	}
	return url
}

// sessions counts the connections of a database that [named] opened. SQLite has
// none.
func sessions(t *testing.T, db *gorm.DB, name string) int {
	t.Helper()
	switch db.Name() {
	case "postgres":
		return count(t, db, "SELECT count(*) FROM pg_stat_activity WHERE application_name = '"+name+"'")
	case "mysql":
		return count(t, db, "SELECT count(*) FROM information_schema.processlist WHERE db = database() AND id <> connection_id()")
	default:
		return 0
	}
}

// transactions counts the open transactions of a database on MariaDB. The view
// innodb_trx is no help: it stays as it was while somebody reads it often.
func transactions(t *testing.T, db *gorm.DB) (n int) {
	t.Helper()
	var status struct{ Status string }
	var threads []string
	if err := errors.Join(db.Raw("SHOW ENGINE INNODB STATUS").Scan(&status).Error,
		db.Raw("SELECT id FROM information_schema.processlist WHERE db = database()").Scan(&threads).Error); err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(status.Status, "---TRANSACTION ")
	if len(blocks) < 2 {
		t.Fatalf("no transactions in the engine's status:\n%s", status.Status)
	}
	for _, block := range blocks[1:] {
		head, rest, _ := strings.Cut(block, "\n")
		for _, id := range threads {
			if strings.Contains(head, ", ACTIVE") && strings.Contains(rest, "thread id "+id+",") {
				n++
			}
		}
	}
	return n
}

// While a callback runs, no session of the worker's is in a transaction that
// was open when it began.
func TestNoTransactionWhileACallbackRuns(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		begun, end := make(chan struct{}, 100), make(chan struct{})
		release := sync.OnceFunc(func() { close(end) })
		defer release()
		r := new(reliable.Registry)
		reliable.AfterCreateCommit(r, "long", func(_ context.Context, c reliable.Change[Order]) error {
			if c.Model.ID > 2 { // some are done by then, and some wait
				begun <- struct{}{}
				<-end
			}
			return nil
		})
		name := "at_work_" + strings.ToLower(d.String())
		url := testdb.New(t, d)
		watcher := url.Open(t) // of another name, where there are names
		db := open(t, named(url, name), r)
		orders := make([]Order, 10)
		if err := db.Create(&orders).Error; err != nil {
			t.Fatal(err)
		}
		stop := start(t, &worker.Worker{DB: db, Threads: 2, PollInterval: 20 * time.Millisecond})
		<-begun
		<-begun
		switch d {
		case testdb.Postgres:
			var now string
			if err := watcher.Raw("SELECT clock_timestamp()::text").Scan(&now).Error; err != nil {
				t.Fatal(err)
			}
			if n := sessions(t, watcher, name); n < 2 {
				t.Fatalf("%d sessions of the worker's are seen: that can't be all", n)
			}
			eventually(t, "no transaction is open from before", func() bool {
				return count(t, watcher, "SELECT count(*) FROM pg_stat_activity WHERE application_name = '"+name+"' AND xact_start <= '"+now+"'") == 0
			})
		case testdb.MySQL:
			if n := sessions(t, watcher, name); n < 2 {
				t.Fatalf("%d sessions of the worker's are seen: that can't be all", n)
			}
			eventually(t, "a moment without a transaction", func() bool { return transactions(t, watcher) == 0 })
		case testdb.SQLite:
			eventually(t, "another process may write", func() bool {
				return watcher.Exec("PRAGMA busy_timeout = 0").Error == nil && watcher.Exec("UPDATE orders SET total = 1 WHERE id = 1").Error == nil
			})
		}
		release()
		eventually(t, "no entry left", func() bool { return count(t, watcher, "SELECT count(*) FROM outbox_entries") == 0 })
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}
