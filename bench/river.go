package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// payload is what a job carries: what the changeset of an order does.
const payload = `{"v":1,"key":{"id":4711},"set":{"created_at":[null,{"t":"2026-11-24T08:00:00.123456Z"}],"customer":[null,"Ann Example"],` +
	`"email":[null,"ann@example.com"],"id":[null,4711],"status":[null,"new"],"total":[null,1900]}}`

// job is a job of River with our payload.
type job struct {
	Payload string `json:"payload"`
}

// Kind implements river.JobArgs.
func (job) Kind() string { return "nothing" }

// noop works on jobs, and counts them.
type noop struct {
	river.WorkerDefaults[job]
	runs  atomic.Int64
	until int64
	ran   chan struct{}
}

// Work implements river.Worker.
func (n *noop) Work(context.Context, *river.Job[job]) error {
	if n.runs.Add(1) == n.until {
		close(n.ran)
	}
	return nil
}

// riverTail is how many of the last jobs are looked at first: more than can be
// on their way at the end.
const riverTail = 20_000

// river drains a backlog with River. Cooldown and poll interval are those of
// River's own benchmark.
func (b *bench) river(ctx context.Context, entries, maxWorkers int) (c cost, err error) {
	err = b.in(ctx, func(p place) error {
		pool, err := pgxpool.New(ctx, p.url)
		if err != nil {
			return err
		}
		defer pool.Close()
		driver := riverpgxv5.New(pool)
		quiet := slog.New(slog.DiscardHandler)
		migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Schema: p.schema, Logger: quiet})
		if err != nil {
			return err
		}
		if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
			return err
		}
		work := &noop{until: int64(entries), ran: make(chan struct{})}
		workers := river.NewWorkers()
		river.AddWorker(workers, work)
		client, err := river.NewClient(driver, &river.Config{
			Schema: p.schema, Logger: quiet, Workers: workers, FetchCooldown: 2 * time.Millisecond, FetchPollInterval: 20 * time.Millisecond,
			Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: maxWorkers}},
		})
		if err != nil {
			return err
		}
		if err := enqueue(ctx, client, entries); err != nil {
			return err
		}
		if err := p.settle(ctx, p.schema+".river_job"); err != nil {
			return err
		}
		m, err := p.begin(ctx)
		if err != nil {
			return err
		}
		defer m.close(ctx)
		if err := client.Start(ctx); err != nil {
			return err
		}
		closed := func() error {
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
			defer cancel()
			err := client.Stop(stop)
			pool.Close()
			return err
		}
		select {
		case <-work.ran:
		case <-ctx.Done():
		}
		const query = "SELECT NOT EXISTS (SELECT FROM %s.river_job WHERE id > %d AND state <> 'completed')"
		at, err := p.until(ctx, fmt.Sprintf(query, p.schema, entries-riverTail), fmt.Sprintf(query, p.schema, 0))
		if err != nil {
			return errors.Join(err, closed())
		}
		c, err = m.end(ctx, entries, at, closed)
		return err
	})
	return c, err
}

// enqueue inserts the jobs.
func enqueue(ctx context.Context, client *river.Client[pgx.Tx], n int) error {
	for left := n; left > 0; left -= 10_000 {
		batch := make([]river.InsertManyParams, min(left, 10_000))
		for i := range batch {
			batch[i].Args = job{payload}
		}
		if _, err := client.InsertManyFast(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}
