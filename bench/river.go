package main

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// job is a job of River with our payload.
type job struct {
	Payload string `json:"payload"`
}

// Kind implements river.JobArgs.
func (job) Kind() string { return "nothing" }

// nothing works on jobs, and counts them.
type nothing struct {
	river.WorkerDefaults[job]
	runs  atomic.Int64
	until int64
	ran   chan struct{}
}

// Work implements river.Worker.
func (n *nothing) Work(context.Context, *river.Job[job]) error {
	if n.runs.Add(1) == n.until {
		close(n.ran)
	}
	return nil
}

// river drains a backlog with River and returns entries per second. Cooldown
// and poll interval are those of River's own benchmark.
func (b *bench) river(ctx context.Context, entries, maxWorkers int) (float64, error) {
	return b.in(ctx, func(schema, url string) (float64, error) {
		pool, err := pgxpool.New(ctx, url)
		if err != nil {
			return 0, err
		}
		defer pool.Close()
		driver := riverpgxv5.New(pool)
		quiet := slog.New(slog.DiscardHandler)
		migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Schema: schema, Logger: quiet})
		if err != nil {
			return 0, err
		}
		if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
			return 0, err
		}
		work := &nothing{until: int64(entries), ran: make(chan struct{})}
		workers := river.NewWorkers()
		river.AddWorker(workers, work)
		client, err := river.NewClient(driver, &river.Config{
			Schema: schema, Logger: quiet, Workers: workers, FetchCooldown: 2 * time.Millisecond, FetchPollInterval: 20 * time.Millisecond,
			Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: maxWorkers}},
		})
		if err != nil {
			return 0, err
		}
		for left := entries; left > 0; left -= 10_000 {
			batch := make([]river.InsertManyParams, min(left, 10_000))
			for i := range batch {
				batch[i].Args = job{payload}
			}
			if _, err := client.InsertManyFast(ctx, batch); err != nil {
				return 0, err
			}
		}
		if err := b.settle(ctx, schema+".river_job"); err != nil {
			return 0, err
		}
		begun := time.Now()
		if err := client.Start(ctx); err != nil {
			return 0, err
		}
		select {
		case <-work.ran:
		case <-ctx.Done():
		}
		took, err := b.until(ctx, begun, "SELECT count(*) FROM "+schema+".river_job WHERE state = 'completed'", entries)
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		return float64(entries) / took.Seconds(), errors.Join(err, client.Stop(stop))
	})
}
