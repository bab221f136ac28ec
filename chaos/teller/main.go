// Command teller is a worker that the tests of package chaos kill, and whose
// callbacks only write to the database: each books an order, by RunTx.
package main

import (
	"context"
	"os"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/chaos"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

func main() {
	os.Exit(worker.Main(open))
}

func open(_ context.Context, databaseURL string) (*worker.Worker, error) {
	db, err := testdb.OpenURL(databaseURL)
	if err != nil {
		return nil, err
	}
	r := new(reliable.Registry)
	for _, name := range []string{"first", "second"} { // what an order owes
		reliable.AfterCommit(r, reliable.Callback[chaos.Order]{
			Name: name, On: reliable.OpCreate,
			RunTx: func(_ context.Context, tx *gorm.DB, c reliable.Change[chaos.Order]) error {
				return tx.Create(&chaos.Booking{OrderID: c.Model.ID, Callback: name}).Error
			},
		})
	}
	return &worker.Worker{DB: db, FinishGroup: chaos.FinishGroup}, db.Use(reliable.New(reliable.Config{Registry: r}))
}
