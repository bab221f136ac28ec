package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// Order is the model whose creations are drained.
type Order struct {
	ID        uint
	Customer  string
	Email     string
	Status    string
	Total     int64
	CreatedAt time.Time
}

// ours drains a backlog that the plugin recorded and returns entries per
// second. Zero threads are the default.
func (b *bench) ours(ctx context.Context, entries, threads int) (float64, error) {
	return b.in(ctx, func(schema, url string) (float64, error) {
		var runs atomic.Int64
		ran := make(chan struct{})
		registry := new(reliable.Registry)
		reliable.AfterCreateCommit(registry, "nothing", func(context.Context, reliable.Change[Order]) error {
			if runs.Add(1) == int64(entries) {
				close(ran)
			}
			return nil
		})
		db, err := gorm.Open(postgres.Open(url), &gorm.Config{Logger: logger.Discard})
		if err != nil {
			return 0, err
		}
		pool, err := db.DB()
		if err != nil {
			return 0, err
		}
		defer func() { _ = pool.Close() }()
		if err := errors.Join(db.AutoMigrate(&Order{}), db.Use(reliable.New(reliable.Config{Registry: registry})),
			migrations.Up(ctx, db), create(db, entries)); err != nil {
			return 0, err
		}
		if err := b.settle(ctx, schema+".orders", schema+".outbox_entries"); err != nil {
			return 0, err
		}
		working, stop := context.WithCancel(ctx)
		defer stop()
		ended := make(chan error, 1)
		begun := time.Now()
		go func() { ended <- (&worker.Worker{DB: db, Threads: threads}).Run(working) }()
		select {
		case <-ran:
		case err := <-ended:
			return 0, fmt.Errorf("the worker ended after %d entries: %w", runs.Load(), err)
		}
		took, err := b.until(ctx, begun, "SELECT count(*) FROM "+schema+".outbox_history", entries)
		stop()
		return float64(entries) / took.Seconds(), errors.Join(err, <-ended)
	})
}

// create commits n orders, a thousand at a time.
func create(db *gorm.DB, n int) error {
	for left := n; left > 0; left -= 1000 {
		if err := createAtOnce(db, min(left, 1000)); err != nil {
			return err
		}
	}
	return nil
}

// createAtOnce creates n orders in one statement.
func createAtOnce(db *gorm.DB, n int) error {
	orders := make([]Order, n)
	for i := range orders {
		orders[i] = order()
	}
	return db.Create(&orders).Error
}
