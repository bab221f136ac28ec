package reliabledatadog_test

import (
	"context"
	"database/sql"
	"errors"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/contrib/reliabledatadog"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

func ExampleMetrics() {
	work := func(ctx context.Context, db *gorm.DB) (err error) {
		plugin, err := reliable.From(db)
		if err != nil {
			return err
		}
		pool, err := db.DB()
		if err != nil {
			return err
		}
		stop, err := reliabledatadog.Metrics{Pools: map[string]*sql.DB{"app": pool}}.Subscribe(plugin.Monitor())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop(context.WithoutCancel(ctx))) }()
		return (&worker.Worker{DB: db, Threads: 8}).Run(ctx)
	}
	_ = work
}
