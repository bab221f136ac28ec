// Command victim is a worker that the test of package matrix kills. It appends
// to the file MATRIX_LEDGER when a callback begins and ends. MATRIX_PACE is how
// long a callback takes, MATRIX_GROUP is the worker's FinishGroup, MATRIX_BAD is
// the id of an order whose callbacks fail for good, MATRIX_SLOW that of one whose
// callbacks take a second; MATRIX_COUNTED adds the callback that counts.
// MATRIX_ORDERED has it work in order.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/chaos/matrix"
	"github.com/gorm-aftercommit/aftercommit/internal/failpoint"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

func main() { os.Exit(worker.Main(open)) }

func open(_ context.Context, databaseURL string) (*worker.Worker, error) {
	ledger, err := os.OpenFile(os.Getenv("MATRIX_LEDGER"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	pace, err := time.ParseDuration(os.Getenv("MATRIX_PACE"))
	if err != nil {
		return nil, fmt.Errorf("MATRIX_PACE: %w", err)
	}
	group, err := strconv.Atoi(os.Getenv("MATRIX_GROUP"))
	if err != nil {
		return nil, fmt.Errorf("MATRIX_GROUP: %w", err)
	}
	db, err := testdb.OpenURL(databaseURL)
	if err != nil {
		return nil, err
	}
	callbacks := matrix.Callbacks{Run: func(_ context.Context, c reliable.Change[matrix.Order], callback string) error {
		line := matrix.Line{Step: "begun", Entry: c.Entry.ID, Token: c.Token, Callback: callback, Order: int64(c.Model.ID)}
		if err := line.Append(ledger); err != nil {
			return err
		}
		failpoint.Hit("callback.running")
		id := fmt.Sprint(c.Model.ID)
		if id == os.Getenv("MATRIX_SLOW") {
			time.Sleep(time.Second) //nolint:forbidigo // the test does something meanwhile
		}
		time.Sleep(pace) //nolint:forbidigo // the callback is no quitter: also while the worker drains
		line.Step = "ended"
		if err := line.Append(ledger); err != nil {
			return err
		}
		if id == os.Getenv("MATRIX_BAD") {
			return reliable.Permanent(errors.New("it is bad"))
		}
		return nil
	}}
	if os.Getenv("MATRIX_COUNTED") != "" {
		callbacks.Counted = reliable.Callback[matrix.Order]{Name: "counted", On: reliable.OpCreate, RunTx: func(_ context.Context, tx *gorm.DB, c reliable.Change[matrix.Order]) error {
			return tx.Create(&matrix.Effect{OrderID: c.Model.ID}).Error
		}}
	}
	w := &worker.Worker{DB: db, FinishGroup: group}
	if os.Getenv("MATRIX_ORDERED") != "" {
		lease, err := time.ParseDuration(os.Getenv("RELIABLE_LEASE_TTL"))
		if err != nil {
			return nil, fmt.Errorf("RELIABLE_LEASE_TTL: %w", err)
		}
		w.Processor = &processors.OrderedByCausalityKey{LeaseTTL: lease}
	}
	return w, db.Use(reliable.New(reliable.Config{Registry: callbacks.Registry(), AllowUncaptured: true}))
}
