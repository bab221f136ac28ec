// Command victim is a worker that the tests of package chaos kill. It appends a
// line to the file CHAOS_LEDGER when a callback has run:
//
//	entry id, token, callback, order id
//
// CHAOS_PACE is how long a callback takes. CHAOS_POISON is the id of an order
// whose callbacks kill the process.
package main

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/gorm-aftercommit/aftercommit/chaos"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

func main() {
	os.Exit(worker.Main(open))
}

func open(_ context.Context, databaseURL string) (*worker.Worker, error) {
	ledger, err := os.OpenFile(os.Getenv("CHAOS_LEDGER"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	pace, err := time.ParseDuration(os.Getenv("CHAOS_PACE"))
	if err != nil {
		return nil, fmt.Errorf("CHAOS_PACE: %w", err)
	}
	db, err := testdb.OpenURL(databaseURL)
	if err != nil {
		return nil, err
	}
	registry := chaos.Callbacks(func(_ context.Context, c reliable.Change[chaos.Order], callback string) error {
		if fmt.Sprint(c.Model.ID) == os.Getenv("CHAOS_POISON") {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		time.Sleep(pace) //nolint:forbidigo // the callback is no quitter: also while the worker drains
		_, err := fmt.Fprintln(ledger, c.Entry.ID, c.Token, callback, c.Model.ID)
		return err
	})
	return &worker.Worker{DB: db, FinishGroup: chaos.FinishGroup}, db.Use(reliable.New(reliable.Config{Registry: registry}))
}
