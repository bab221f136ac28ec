package reliablesentry_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/contrib/reliablesentry"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// The text of an error is sent if somebody says how.
func ExampleReporter_text() {
	reporter := reliablesentry.Reporter{Text: func(err error) string { return reliable.Redact(err.Error()) }}
	fmt.Println(reporter.Text(errors.New("dial postgres://shop:hunter2@db/shop: connection refused")))
	// Output: dial postgres://shop:[redacted]@db/shop: connection refused
}

func ExampleReporter() {
	work := func(ctx context.Context, db *gorm.DB) (err error) {
		plugin, err := reliable.From(db)
		if err != nil {
			return err
		}
		if os.Getenv("SENTRY_DSN") != "" { // not where one develops
			stop, err := reliablesentry.Reporter{Report: reliablesentry.Final}.Subscribe(plugin.Monitor())
			if err != nil {
				return err
			}
			defer func() { _ = stop(context.WithoutCancel(ctx)) }()
		}
		return errors.Join((&worker.Worker{DB: db, Threads: 8}).Run(ctx))
	}
	_ = work
}
