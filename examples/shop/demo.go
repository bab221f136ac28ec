package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/examples/shop/proof"
	"github.com/gorm-aftercommit/aftercommit/migrations"
)

const (
	threads    = 4
	leaseTTL   = time.Second      // how long a worker that gives no sign of life keeps its entries; short, so that the demo is
	progressBy = 30 * time.Second // without any progress for so long, the demo gives up
)

// size is how much the demo writes: in two shifts, some customers at the same
// time, each visits times.
type size struct {
	customers, visits int
	pace              time.Duration // between two writes of a customer
}

// fullSize makes about 4,000 changes.
func fullSize() size { return size{customers: 4, visits: 12, pace: 30 * time.Millisecond} }

// demo is one telling of the story.
type demo struct {
	*screen
	size    size
	place   place
	db      *gorm.DB
	shop    *Shop
	ledger  string                  // the worker's ledger, a file
	log     string                  // what the worker logs, a file
	gone    context.CancelCauseFunc // called when the worker ends unasked
	worker  *child                  // nil before the first start
	kills   int
	waiting int // entries not done when the worker was killed
}

// runDemo tells the story. It returns an error unless the proof holds. It
// leaves nothing behind, but ledger and log if something went wrong.
func runDemo(ctx context.Context, out io.Writer, databaseURL string, size size) (err error) {
	dir, err := os.MkdirTemp("", "shop-demo-")
	if err != nil {
		return err
	}
	d := &demo{screen: newScreen(out), size: size, ledger: filepath.Join(dir, "ledger.jsonl"), log: filepath.Join(dir, "worker.log")}
	defer func() {
		if err != nil && ctx.Err() == nil && d.worker != nil {
			err = fmt.Errorf("%w\nledger and log of the worker are in %s", err, dir)
			return
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	if d.place, err = newPlace(ctx, databaseURL, dir); err != nil {
		return err
	}
	defer func() {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		err = errors.Join(err, d.place.drop(cleanup))
	}()
	if d.db, err = open(d.place.URL, Callbacks(World{})); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeDB(d.db)) }()
	d.shop = &Shop{db: d.db, pace: size.pace}

	telling, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	d.gone = cancel
	if err := d.tell(telling); err != nil {
		if cause := context.Cause(telling); cause != nil {
			return cause // why the database calls were cancelled
		}
		return err
	}
	return d.judge(ctx)
}

// tell runs the chapters of the story, and leaves no worker behind.
func (d *demo) tell(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	defer func() {
		if d.worker != nil {
			_ = d.worker.kill() // after stopWorker there is nobody left to kill
		}
	}()
	d.Say("A shop on %s; its worker is another process.", d.place.Name)
	if err := d.migrate(ctx); err != nil {
		return err
	}
	watching.Go(func() { d.watch(ctx) })
	for _, chapter := range []func(context.Context) error{
		d.startWorker, d.serve, d.killInTheRush, d.startWorker, d.serve, d.rush, d.drain, d.stopWorker,
	} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	return nil
}

// migrate makes the shop's tables, the outbox's, and the log of the proof.
func (d *demo) migrate(ctx context.Context) error {
	if err := migrate(ctx, d.db); err != nil {
		return err
	}
	return proof.Install(ctx, d.db, watched()...)
}

// migrate makes the shop's tables and the outbox's.
func migrate(ctx context.Context, db *gorm.DB) error {
	if err := db.WithContext(ctx).AutoMigrate(&Customer{}, &Order{}); err != nil {
		return fmt.Errorf("migrate the shop: %w", err)
	}
	return migrations.Up(ctx, db)
}

func (d *demo) startWorker(context.Context) (err error) {
	if d.worker, err = startChild(d.place.URL, d.ledger, d.log, d.gone); err != nil {
		return fmt.Errorf("start the worker: %w", err)
	}
	d.Event("worker %d started with %d threads", d.worker.pid(), threads)
	return nil
}

func (d *demo) stopWorker(context.Context) error {
	if err := d.worker.stop(); err != nil {
		return err
	}
	d.Event("worker %d drained and stopped", d.worker.pid())
	return nil
}

func (d *demo) serve(ctx context.Context) error {
	return d.shop.Serve(ctx, d.size.customers, d.size.visits)
}

// rush ships all orders at once.
func (d *demo) rush(ctx context.Context) error {
	n, err := d.shop.Ship(ctx)
	d.Event("%d orders shipped with one UPDATE", n)
	return err
}

// killInTheRush kills the worker when it has done some of a rush.
func (d *demo) killInTheRush(ctx context.Context) error {
	before, err := proof.CountRuns(d.ledger)
	if err != nil {
		return err
	}
	if err := d.rush(ctx); err != nil {
		return err
	}
	enough := before + 5*threads
	if err := d.until(ctx, time.Millisecond, func() (left int, err error) {
		n, err := proof.CountRuns(d.ledger)
		return enough - n, err
	}); err != nil {
		return err
	}
	if err := d.worker.kill(); err != nil {
		return err
	}
	d.kills++
	if d.waiting, err = d.pending(ctx); err != nil {
		return err
	}
	d.Event("worker %d killed with SIGKILL; %d entries wait", d.worker.pid(), d.waiting)
	return nil
}

// drain waits until nothing is left that a worker could do.
func (d *demo) drain(ctx context.Context) error {
	return d.until(ctx, 20*time.Millisecond, func() (left int, err error) { return d.pending(ctx) })
}

// until waits for measure to come down to 0. It gives up when measure stands
// still.
func (d *demo) until(ctx context.Context, every time.Duration, measure func() (left int, err error)) error {
	last, since := -1, time.Now()
	for {
		left, err := measure()
		if err != nil || left <= 0 {
			return err
		}
		if left != last {
			last, since = left, time.Now()
		}
		if time.Since(since) > progressBy {
			d.Event("no progress for %s; the worker's log says why", progressBy)
			return nil // the verdict names what is missing
		}
		if err := pause(ctx, every); err != nil {
			return err
		}
	}
}
