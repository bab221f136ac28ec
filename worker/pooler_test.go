package worker_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// Behind a PgBouncer in transaction mode a worker does all that it does
// elsewhere, without an error, but for LISTEN: it says so, and polls.
func TestBehindAPooler(t *testing.T) {
	url := testdb.StartPooler(t).New(t)
	var runs atomic.Int64
	r := new(reliable.Registry)
	reliable.AfterCommit(r, reliable.Callback[Order]{Name: "flaky", On: reliable.OpCreate | reliable.OpDestroy, Backoff: soon, Run: func(context.Context, reliable.Change[Order]) error {
		if runs.Add(1)%3 == 0 {
			return errors.New("now and then")
		}
		return nil
	}})
	reliable.AfterCommit(r, reliable.Callback[Order]{Name: "tx", On: reliable.OpUpdate, RunTx: func(_ context.Context, tx *gorm.DB, c reliable.Change[Order]) error {
		return tx.Exec("INSERT INTO totals (total) VALUES (?)", c.Model.Total).Error
	}})
	writer, db := open(t, url, r), open(t, url, r)
	if err := writer.Exec("CREATE TABLE totals (total bigint)").Error; err != nil {
		t.Fatal(err)
	}
	plugin, err := reliable.From(db)
	if err != nil {
		t.Fatal(err)
	}
	reasons := make(chan error, 10)
	t.Cleanup(reliable.Subscribe(plugin.Monitor(), func(e *reliable.WakeupDegraded) { reasons <- e.Err }))
	troubles := events[*reliable.ErrorOccurred](t, db, nil)
	stop := start(t, &worker.Worker{DB: db, Threads: 4, PollInterval: 20 * time.Millisecond})
	for range 5 {
		batch := orders(20)
		if err := errors.Join(writer.Create(batch).Error, writer.Model(batch).Update("total", 7).Error, writer.Delete(&Order{}, "id % 5 = 0").Error); err != nil {
			t.Fatal(err)
		}
	}
	idle(t, 20*time.Second, writer)
	if err := stop(); err != nil {
		t.Errorf("Run() = %v, want nil", err)
	}
	if n := troubles.Load(); n != 0 {
		t.Errorf("%d errors, want 0", n)
	}
	if err := <-reasons; !strings.Contains(err.Error(), "pooler") {
		t.Errorf("WakeupDegraded says %q, want that there is a pooler", err)
	}
	// A destroy that came before its update was run leaves that discarded.
	if n := count(t, writer, "SELECT count(*) FROM totals"); n < 80 || n > 100 {
		t.Errorf("%d updates ran, want 80 to 100", n)
	}
	if n := count(t, writer, "SELECT count(*) FROM outbox_workers") + count(t, writer, "SELECT count(*) FROM outbox_claims"); n != 0 {
		t.Errorf("%d rows of the stopped worker are left, want 0", n)
	}
}
