package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gorm-aftercommit/aftercommit/examples/shop/proof"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// ledgerVariable names the file to which the worker writes a line for each run
// of a callback. Without it, the lines go to standard output.
const ledgerVariable = "SHOP_LEDGER"

// runWorker is the program of the worker: the shop's callbacks, and what
// package worker makes of the environment (DATABASE_URL, THREADS, ...).
func runWorker() (exitCode int) {
	return worker.Main(func(_ context.Context, databaseURL string) (*worker.Worker, error) {
		ledger := proof.NewLedger(os.Stdout)
		if path := os.Getenv(ledgerVariable); path != "" {
			file, err := proof.OpenLedger(path)
			if err != nil {
				return nil, &settingError{ledgerVariable, err, "Set it to a file that can be written."}
			}
			ledger = file
		}
		callbacks := Callbacks(World{Latency: 2 * time.Millisecond})
		callbacks.Use(ledger.Middleware)
		db, err := open(databaseURL, callbacks)
		if err != nil {
			return nil, err
		}
		return &worker.Worker{DB: db}, nil
	})
}

// child is a worker in a process of its own.
type child struct {
	cmd      *exec.Cmd
	parent   io.Closer // its standard input
	expected atomic.Bool
	ended    chan struct{}
	err      error // why it ended; read it after ended is closed
}

// startChild runs this program again, as a worker. If the worker ends without
// having been told to, gone is called.
func startChild(databaseURL, ledger, log string, gone func(error)) (*child, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	stderr, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = stderr.Close() }()
	c := &child{cmd: exec.Command(program, "worker", attached), ended: make(chan struct{})}
	c.cmd.Stderr = stderr
	c.cmd.Env = append(os.Environ(), "DATABASE_URL="+databaseURL, ledgerVariable+"="+ledger,
		"THREADS="+strconv.Itoa(threads), "RELIABLE_LEASE_TTL="+leaseTTL.String(), "RELIABLE_POLL_INTERVAL=20ms")
	if c.parent, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.ended)
		if !c.expected.Load() {
			gone(fmt.Errorf("the worker ended: %w", cmp.Or(c.err, errors.New("exit status 0"))))
		}
	}()
	return c, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// kill ends the worker at once: it can neither finish nor tell anybody.
func (c *child) kill() error {
	c.expected.Store(true)
	if err := c.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill the worker: %w", err)
	}
	<-c.ended
	return nil
}

// stop asks the worker to drain and waits for that. It returns an error if the
// worker reports one.
func (c *child) stop() error {
	c.expected.Store(true)
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return c.kill()
	}
	select {
	case <-c.ended:
	case <-time.After(30 * time.Second):
		return errors.Join(errors.New("the worker did not stop within 30 s of SIGTERM"), c.kill())
	}
	if c.err != nil {
		return fmt.Errorf("the worker stopped with an error: %w", c.err)
	}
	return nil
}

// attached is the argument of a worker that ends when its parent does, however
// that ends: its standard input is a pipe from there.
const attached = "attached"

func endWithParent() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(1)
}
