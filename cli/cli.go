// Package cli is the command tree of an operator: it migrates the outbox's
// tables, shows what is in them, and changes what is dead, parked or paused.
//
// Command reliable (cmd/reliable) is the tree for any database. A program that
// has the callbacks mounts it itself, and gets the command worker as well, and
// orphans that are told from other entries:
//
//	func main() {
//		os.Exit(cli.Main(cli.Command(func(ctx context.Context) (*gorm.DB, error) {
//			db, err := gorm.Open(postgres.Open(os.Getenv("DATABASE_URL")))
//			if err != nil {
//				return nil, err
//			}
//			return db, db.Use(reliable.New(reliable.Config{Registry: shop.Callbacks()}))
//		})))
//	}
//
// or as a part of its own tree: root.AddCommand(cli.Command(open)).
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/outbox"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Exit codes of [Main].
const (
	ExitDone        = 0   // it did what it was asked, if only to find that there is nothing to do
	ExitFailure     = 1   // it could not; what was done until then stays done
	ExitUsage       = 2   // flags or arguments have mistakes; nothing was done
	ExitNotFound    = 3   // no such entry, pause or parked key
	ExitUnconfirmed = 4   // it changes something, and nobody said yes; nothing was done
	ExitFault       = 5   // the doctor has found one
	ExitInterrupted = 130 // by SIGINT or SIGTERM; what was done until then stays done
)

// Open opens the database of the outbox, with the plugin installed. It is called
// once, by commands that need it.
type Open func(ctx context.Context) (*gorm.DB, error)

// Program is what a tree is made of.
type Program struct {
	Open Open // required

	// Evictions asks the Redis that REDIS_URL names what it does when its memory
	// is full: redislock.EvictionsOf. It is apart, so that a program without Redis
	// does not link it. Nil leaves that for the doctor to tell, if REDIS_URL is set.
	Evictions func(ctx context.Context, urls string) (policies []string, err error)
}

// Command returns the tree of a program that has no Redis: see
// [Program.Command].
func Command(open Open) *cobra.Command { return Program{Open: open}.Command() }

// Command returns the tree. Its name is "reliable"; set Use for another one.
// Errors are returned, and not shown: [Main] shows them.
func (p Program) Command() *cobra.Command {
	t := &tree{open: p.Open, evictions: p.Evictions}
	root := &cobra.Command{
		Use:   "reliable",
		Short: "Operate the outbox of reliable after-commit callbacks",
		Long: "Operate the outbox of reliable after-commit callbacks, while workers run.\n\n" +
			"What a command changes, it counts first, and then asks; --yes answers. Exit codes:\n" +
			"  0 done   1 failed   2 wrong flags or arguments   3 not found   4 not confirmed   5 the doctor found a fault   130 interrupted",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.PersistentFlags().BoolVar(&t.json, "json", false, "write JSON, for machines")
	root.AddCommand(t.status(), t.list(), t.show(), t.retry(), t.discard(), t.release(), t.pause(), t.resume(), t.prune(), t.reencrypt(), t.migrate(), t.doctor(), t.worker(), t.healthcheck())
	return group(root)
}

// Main runs a tree as a program, and returns its exit code: see [ExitDone] and
// those after it. SIGINT and SIGTERM end it after the statement that is running.
func Main(cmd *cobra.Command) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := cmd.ExecuteContext(ctx)
	var code workerExit
	switch {
	case errors.As(err, &code): // it has told why
	case err != nil && ctx.Err() != nil:
		fmt.Fprintln(cmd.ErrOrStderr(), cmd.Name()+": interrupted: "+reliable.Redact(err.Error()))
		return ExitInterrupted
	case err != nil:
		fmt.Fprintln(cmd.ErrOrStderr(), cmd.Name()+": "+reliable.Redact(err.Error()))
	}
	return ExitCode(err)
}

// ExitCode returns the exit code that stands for what a command of the tree
// returned.
func ExitCode(err error) int {
	var code workerExit
	var usage *UsageError
	switch {
	case err == nil:
		return ExitDone
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &usage):
		return ExitUsage
	case errors.Is(err, errFault):
		return ExitFault
	case errors.Is(err, errUnconfirmed):
		return ExitUnconfirmed
	case errors.Is(err, outbox.ErrNotFound), errors.Is(err, outbox.ErrNotParked), errors.Is(err, outbox.ErrNotPaused):
		return ExitNotFound
	default:
		return ExitFailure
	}
}

// tree is what the commands share.
type tree struct {
	open      Open
	evictions func(ctx context.Context, urls string) ([]string, error)
	json      bool
}

// tellWorkers is how long a command that is over waits until workers know: they
// find out by their poll if not.
const tellWorkers = 2 * time.Second

// database opens the database, and closes it when the command is over.
func (t *tree) database(ctx context.Context, run func(db *gorm.DB, p *reliable.Plugin) error) error {
	db, p, closeAll, err := t.opened(ctx)
	if err != nil {
		return err
	}
	defer closeAll()
	return run(db, p)
}

// opened opens the database. closeAll ends what that began, once the command is
// over.
func (t *tree) opened(ctx context.Context) (db *gorm.DB, p *reliable.Plugin, closeAll func(), err error) {
	if db, err = t.open(ctx); err != nil {
		return nil, nil, nil, err
	}
	pool, err := db.DB()
	if err != nil {
		return nil, nil, nil, err
	}
	if p, err = reliable.From(db); err != nil {
		_ = pool.Close()
		return nil, nil, nil, err
	}
	return db, p, func() {
		// Workers of other processes are told of what is due now, also after an interrupt.
		told, stop := context.WithTimeout(context.WithoutCancel(ctx), tellWorkers)
		defer stop()
		_ = p.Close(told)
		_ = pool.Close()
	}, nil
}

// outbox opens the database for what reads or changes entries: its tables must
// be there.
func (t *tree) outbox(ctx context.Context, run func(o *outbox.Outbox, p *reliable.Plugin) error) error {
	return t.database(ctx, func(db *gorm.DB, p *reliable.Plugin) error {
		if err := db.WithContext(ctx).Exec("SELECT id FROM " + p.Tables().Entries() + " WHERE id = 0").Error; err != nil {
			return fmt.Errorf("the tables can't be read; if they are not there, 'migrate up' makes them: %w", err)
		}
		return run(outbox.Of(db), p)
	})
}

// group makes a command that only has others.
func group(c *cobra.Command) *cobra.Command {
	c.Args = cobra.ArbitraryArgs
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return c.Help()
		}
		var names []string
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				names = append(names, sub.Name())
			}
		}
		return &UsageError{fmt.Errorf("no command is called %q: known are %q", args[0], names), c}
	}
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return &UsageError{err, c} })
	return c
}

// UsageError is a mistake in flags or arguments. An [Open] may return one.
type UsageError struct {
	Err error
	cmd *cobra.Command
}

// Error returns the mistakes, and how to learn more.
func (e *UsageError) Error() string {
	if e.cmd == nil {
		return e.Err.Error()
	}
	return e.Err.Error() + "\nrun '" + e.cmd.CommandPath() + " --help' for what it takes"
}

// Unwrap returns the mistakes.
func (e *UsageError) Unwrap() error { return e.Err }
