package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/gorm-aftercommit/aftercommit/outbox"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// workerExit is the exit code of a worker, which has told why.
type workerExit int

// Error implements error.
func (e workerExit) Error() string { return fmt.Sprintf("the worker ended with exit code %d", int(e)) }

func (t *tree) worker() *cobra.Command {
	c := &cobra.Command{
		Use:   "worker",
		Short: "Run what is owed, until SIGTERM",
		Long: "Run what is owed, until SIGTERM. The callbacks are code, so that this works only in a program that has them and mounts these commands;\n" +
			"see the documentation of package cli. The settings are those of worker.Main: THREADS, RELIABLE_PROCESSOR and so on, with the same exit codes.\n" +
			"The database is the one that the program opens: DATABASE_URL may be missing.",
		Example: "  THREADS=8 myshop reliable worker",
	}
	f := newFlags(c.Flags())
	f.none()
	return leaf(c, f, func(context.Context, *cobra.Command, []string) error {
		back, err := givenDatabase()
		if err != nil {
			return err
		}
		defer back()
		release := func() {}
		defer func() { release() }()
		var usage *UsageError
		code := worker.Main(func(ctx context.Context, _ string) (*worker.Worker, error) { //nolint:contextcheck // its own ends by signals, and bounds this
			back() // it has been read, and callbacks may read it, too
			db, p, closeAll, err := t.opened(ctx)
			if err != nil {
				errors.As(err, &usage)
				return nil, err
			}
			release = closeAll
			if p.Registry().Empty() {
				return nil, errors.New("this binary knows no callbacks, and could run nothing: mount cli.Command in the program that registers them, and run its worker")
			}
			return &worker.Worker{DB: db}, nil
		})
		if usage != nil {
			code = ExitUsage
		}
		if code != worker.ExitClean {
			return workerExit(code)
		}
		return nil
	})
}

// givenDatabase lets worker.Main, which wants DATABASE_URL, know that there is
// a database, if nothing says so: for as long as it reads the environment. back
// ends that, and may be called again.
func givenDatabase() (back func(), err error) {
	const variable = "DATABASE_URL"
	if os.Getenv(variable) != "" || os.Getenv(variable+"_FILE") != "" {
		return func() {}, nil
	}
	return func() { _ = os.Unsetenv(variable) }, os.Setenv(variable, "program://opens-it")
}

func (t *tree) prune() *cobra.Command {
	c := &cobra.Command{
		Use:   "prune",
		Short: "Show what of the history is old",
		Long: "Show how many entries of the history are older than the retention, and would go; on PostgreSQL whole days go. Workers do it by themselves, so\n" +
			"that --dry-run is all there is.",
		Example: "  reliable prune --dry-run --retention 30d",
	}
	f, dry, retention := newFlags(c.Flags()), false, 72*time.Hour
	f.none()
	c.Flags().BoolVar(&dry, "dry-run", false, "only count")
	f.age(&retention, "retention", "how long entries stay (default 72h, as RELIABLE_RETENTION)")
	f.checks = append(f.checks, func([]string) error {
		switch {
		case !dry:
			return errors.New("workers prune by themselves: add --dry-run to see what would go, and set RELIABLE_RETENTION for them")
		case retention < time.Minute:
			return fmt.Errorf("--retention=%s: want 1m or more", retention)
		default:
			return nil
		}
	})
	return leaf(c, f, func(ctx context.Context, c *cobra.Command, _ []string) error {
		return t.outbox(ctx, func(o *outbox.Outbox, _ *reliable.Plugin) error {
			g, err := o.Prunable(ctx, retention)
			if err != nil {
				return err
			}
			return t.write(c, map[string]any{"prunable": g, "retention_seconds": retention.Seconds()}, func(w io.Writer) {
				fmt.Fprintf(w, "%s of the history would go: older than %s.\n", plural(g, "entry", "entries"), outbox.Age(retention))
			})
		})
	})
}
