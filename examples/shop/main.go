// Command shop is a small shop whose callbacks survive rollbacks, failures and
// killed workers, and which proves it.
//
//	go run ./examples/shop             the demo: shop and worker, one database
//	go run ./examples/shop worker      a worker, until SIGTERM
//	go run ./examples/shop write       ten customers come and go
//
// The demo needs nothing; with DATABASE_URL it runs on that server, in a schema
// of its own. worker and write need DATABASE_URL: start both, in two terminals.
//
// To learn how the library is used, read models.go, callbacks.go, shop.go and
// worker.go, in this order. demo.go tells the story of the demo; package proof
// compares what committed with what ran.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const usage = `usage: shop [demo|worker|write]`

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run returns the exit code: 0, 1 after a failure, 2 after a mistake in how the
// program was started, 130 after an interrupt.
func run(args []string, stdout, stderr io.Writer) (exitCode int) {
	mode := "demo"
	if len(args) > 0 {
		mode = args[0]
	}
	if mode == "worker" {
		if len(args) > 1 && args[1] == attached {
			go endWithParent()
		}
		return runWorker()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch mode {
	case "demo":
		err = runDemo(ctx, stdout, os.Getenv("DATABASE_URL"), fullSize())
	case "write":
		err = runWriter(ctx, stdout, os.Getenv("DATABASE_URL"))
	default:
		err = &settingError{"arguments", fmt.Errorf("no mode is called %q", mode), usage}
	}
	var setting *settingError
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "shop: interrupted")
		return 130
	case errors.As(err, &setting):
		fmt.Fprintln(stderr, "shop:", err)
		return 2
	default:
		fmt.Fprintln(stderr, "shop:", err)
		return 1
	}
}

// runWriter lets ten customers shop, for a worker in another process.
func runWriter(ctx context.Context, out io.Writer, databaseURL string) error {
	if databaseURL == "" {
		return wrongURL(errors.New("not set"))
	}
	db, err := open(databaseURL, Callbacks(World{}))
	if err != nil {
		return err
	}
	if err := migrate(ctx, db); err != nil {
		return err
	}
	shop := &Shop{db: db, pace: 100 * time.Millisecond}
	if err := shop.Serve(ctx, 2, 5); err != nil {
		return err
	}
	fmt.Fprintln(out, "ten customers came and went; the worker has what is owed")
	return nil
}
