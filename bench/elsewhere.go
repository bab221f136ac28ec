package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/glebarez/sqlite"
	driver "github.com/go-sql-driver/mysql"
	"gorm.io/driver/mysql"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// elsewhere is a database other than PostgreSQL, which River does not know.
type elsewhere struct {
	name string

	// open makes an empty database. dropped drops it, when it is closed.
	open func(ctx context.Context) (d gorm.Dialector, dropped func() error, err error)
}

func others() map[string]elsewhere {
	return map[string]elsewhere{"mariadb": {"mariadb", openMariaDB}, "sqlite": {"sqlite", openSQLite}}
}

// drain lets ours drain in its forms, by turns.
func (e elsewhere) drain(ctx context.Context, o options) error {
	entries, rounds := o.entries, or(o.rounds, 3)
	title("drain: %d entries, a callback that does nothing, on %s", entries, e.name)
	fmt.Printf("ours: %s\n\n%-32s entries/s %s\n", defaults(), "", usageColumns)
	forms := []struct {
		name string
		ours
	}{
		{"archive", ours{completion: processors.Archive, work: nothing}},
		{"delete", ours{completion: processors.Delete, work: nothing}},
		{"model", ours{completion: processors.Archive, work: reading}},
	}
	rates := make([][]float64, len(forms))
	for range rounds {
		for i, form := range forms {
			begun := time.Now()
			c, err := e.ours(ctx, entries, form.ours)
			if err != nil {
				return fmt.Errorf("%s: %w", form.name, err)
			}
			rates[i] = append(rates[i], c.rate())
			fmt.Printf("%-32s %9.0f %s  %s\n", "ours, "+form.name, c.rate(), c.per(float64(entries)), lap(begun))
		}
	}
	fmt.Printf("\nbench: %s", e.name)
	for i, form := range forms {
		m, _, _ := median(rates[i])
		fmt.Printf(" %s=%.0f/s", form.name, m)
	}
	fmt.Println()
	return nil
}

// ours drains a backlog that the plugin recorded.
func (e elsewhere) ours(ctx context.Context, entries int, o ours) (c cost, err error) {
	dialector, dropped, err := e.open(ctx)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, dropped()) }()
	db, err := gorm.Open(dialector, &gorm.Config{Logger: logger.Discard})
	if err != nil {
		return c, err
	}
	pool, err := db.DB()
	if err != nil {
		return c, err
	}
	defer func() { _ = pool.Close() }()
	var runs atomic.Int64
	ran := make(chan struct{})
	registry := o.work.registry(func(uint) {
		if runs.Add(1) == int64(entries) {
			close(ran)
		}
	})
	db = db.WithContext(ctx)
	if err := errors.Join(db.Use(reliable.New(reliable.Config{Registry: registry})), db.AutoMigrate(&Order{}), migrations.Up(ctx, db)); err != nil {
		return c, err
	}
	for left := entries; left > 0; left -= pattern {
		if err := createAtOnce(db, min(left, pattern)); err != nil {
			return c, err
		}
	}
	runtime.GC()
	before, err := used()
	if err != nil {
		return c, err
	}
	working, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	begun := time.Now()
	go func() {
		ended <- (&worker.Worker{DB: db, Threads: o.threads, Processor: &processors.NonOrdered{Completion: o.completion}}).Run(working)
	}()
	select {
	case <-ran:
	case err := <-ended:
		return c, fmt.Errorf("the worker ended after %d entries: %w", runs.Load(), cmp.Or(err, context.Cause(ctx)))
	}
	for left := true; left && err == nil; {
		c.took = time.Since(begun)
		err = db.Raw("SELECT EXISTS (SELECT 1 FROM outbox_entries)").Scan(&left).Error
	}
	now, uerr := used()
	stop()
	c.entries, c.usage = entries, now.since(before)
	return c, errors.Join(err, uerr, <-ended)
}

// openMariaDB makes a database on a server.
func openMariaDB(ctx context.Context) (gorm.Dialector, func() error, error) {
	config, err := driver.ParseDSN(cmp.Or(os.Getenv("DATABASE_URL"), "root@tcp(127.0.0.1:3306)/"))
	if err != nil {
		return nil, nil, fmt.Errorf("DATABASE_URL for MariaDB (example: user:pass@tcp(host:3306)/): %w", err)
	}
	name := "bench_" + strings.ToLower(rand.Text()[:10])
	config.ParseTime, config.Loc = true, time.UTC
	config.Params = map[string]string{"time_zone": "'+00:00'", "charset": "utf8mb4"}
	server, err := sql.Open("mysql", config.FormatDSN())
	if err != nil {
		return nil, nil, err
	}
	if _, err := server.ExecContext(ctx, "CREATE DATABASE "+name); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("no MariaDB: set DATABASE_URL (example: user:pass@tcp(host:3306)/): %w", err), server.Close())
	}
	config.DBName = name
	return mysql.Open(config.FormatDSN()), func() error {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		_, err := server.ExecContext(cleanup, "DROP DATABASE "+name)
		return errors.Join(err, server.Close())
	}, nil
}

// openSQLite makes a file.
func openSQLite(context.Context) (gorm.Dialector, func() error, error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, nil, err
	}
	address := "file:" + filepath.Join(dir, "bench.db") + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=foreign_keys(1)" +
		"&_pragma=synchronous(FULL)&_txlock=immediate"
	return sqlite.Open(address), func() error { return os.RemoveAll(dir) }, nil
}
