package main

import (
	"context"
	"fmt"
	"time"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Callbacks says what the shop owes to the world after a commit. The process
// that writes and the worker share it.
func Callbacks(world World) *reliable.Registry {
	r := new(reliable.Registry)

	// The plain case: one callback, one operation.
	reliable.AfterCreateCommit(r, "welcome", func(ctx context.Context, c reliable.Change[Customer]) error {
		return world.Send(ctx, c.Model.Email, "welcome", c.IdempotencyKey())
	})

	// A callback for every kind of write. A soft delete is a destroy.
	reliable.AfterCommit(r, reliable.Callback[Customer]{
		Name: "directory",
		Run: func(ctx context.Context, c reliable.Change[Customer]) error {
			return world.Call(ctx, fmt.Sprintf("directory/%d", c.Model.ID), c.IdempotencyKey())
		},
	})

	// An error puts the callback back, and only this one: its siblings are not
	// run again. Here the mail server refuses every tenth order twice.
	reliable.AfterCommit(r, reliable.Callback[Order]{
		Name:    "receipt",
		On:      reliable.OpCreate,
		Backoff: reliable.Exponential(100*time.Millisecond, time.Second),
		Run: func(ctx context.Context, c reliable.Change[Order]) error {
			if c.Model.ID%10 == 0 && c.Attempt <= 2 {
				return fmt.Errorf("mail server: 451 try again later (attempt %d)", c.Attempt)
			}
			return world.Send(ctx, fmt.Sprintf("customer %d", c.Model.CustomerID), "receipt", c.IdempotencyKey())
		},
	})

	// A panic is an error like any other. Here the first attempt meets a bug,
	// for one order in a hundred. An update is replayed even if its order was
	// deleted since: by default, it would be given up.
	reliable.AfterCommit(r, reliable.Callback[Order]{
		Name:     "warehouse",
		Backoff:  reliable.Exponential(100*time.Millisecond, time.Second),
		WhenGone: reliable.GoneRun,
		Run: func(ctx context.Context, c reliable.Change[Order]) error {
			if c.Model.ID%100 == 1 && c.Operation == reliable.OpCreate && c.Attempt == 1 {
				panic("warehouse: index out of range")
			}
			return world.Call(ctx, fmt.Sprintf("warehouse/%d", c.Model.ID), c.IdempotencyKey())
		},
	})
	return r
}

// World stands for what is outside of the shop's database: mail servers,
// other services. A real one would hand on the idempotency key, since a
// callback may run again after a crash.
type World struct {
	Latency time.Duration // of each call
}

// Send sends a mail.
func (w World) Send(ctx context.Context, to, template, key string) error {
	return w.Call(ctx, "mail/"+to+"/"+template, key)
}

// Call calls another service.
func (w World) Call(ctx context.Context, _, _ string) error { return pause(ctx, w.Latency) }

// pause waits for d, or until ctx is done.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
