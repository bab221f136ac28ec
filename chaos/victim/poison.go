package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/chaos"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// looping is the total of an order that a loop made.
const looping = -1

// poison is an order whose callbacks misbehave.
type poison struct {
	order uint
	how   string
}

func parsePoison(text string) (poison, error) {
	id, how, ok := strings.Cut(text, ":")
	if !ok {
		how = "kill"
	}
	order, err := strconv.ParseUint(id, 10, 32)
	if err == nil && misdeeds()[how] == nil {
		err = fmt.Errorf("%q: want one of %q", how, slices.Sorted(maps.Keys(misdeeds())))
	}
	return poison{uint(order), how}, err
}

// misdeeds returns what callbacks can do, by name.
func misdeeds() map[string]func(ctx context.Context, db *gorm.DB) error {
	return map[string]func(ctx context.Context, db *gorm.DB) error{
		"kill":  func(context.Context, *gorm.DB) error { return syscall.Kill(os.Getpid(), syscall.SIGKILL) },
		"exit":  func(context.Context, *gorm.DB) error { os.Exit(7); return nil },
		"child": func(context.Context, *gorm.DB) error { go panic("in a child"); select {} },
		"overflow": func(context.Context, *gorm.DB) error {
			debug.SetMaxStack(1 << 20)
			return errors.New(strings.Repeat(".", deep(1)))
		},
		"map":      func(context.Context, *gorm.DB) error { race(); return nil },
		"memory":   func(context.Context, *gorm.DB) error { return hoard() },
		"panic":    func(context.Context, *gorm.DB) error { panic("poison " + chaos.Canary[:6]) },
		"nil":      func(context.Context, *gorm.DB) error { panic(nil) },
		"badpanic": func(context.Context, *gorm.DB) error { panic(badError{}) },
		"badkind":  func(context.Context, *gorm.DB) error { return badError{} },
		"goexit":   func(context.Context, *gorm.DB) error { runtime.Goexit(); return nil },
		"hang":     func(ctx context.Context, _ *gorm.DB) error { <-ctx.Done(); return ctx.Err() },
		"deaf":     func(context.Context, *gorm.DB) error { select {} },
		"huge":     func(context.Context, *gorm.DB) error { return errors.New(strings.Repeat("huge ", 2<<20)) },
		"bytes":    func(context.Context, *gorm.DB) error { return errors.New("nul \x00, not UTF-8 \xff\xfe, end") },
		"loop": func(ctx context.Context, db *gorm.DB) error {
			return db.WithContext(ctx).Create(&chaos.Order{Total: looping}).Error
		},
		"monitor": func(context.Context, *gorm.DB) error { return nil }, // see watch
	}
}

// watch adds subscribers that misbehave.
func (p poison) watch(m *reliable.Monitor) {
	if p.how != "monitor" {
		return
	}
	m.Subscribe(func(reliable.Event) { panic("a subscriber") })
	m.Subscribe(func(reliable.Event) { select {} })
	m.Subscribe(func(reliable.Event) { runtime.Goexit() })
}

// run is what a callback does.
func (s *settings) run(ctx context.Context, c chaos.Call, db *gorm.DB) error {
	bad := c.Subject == s.poison.order && (c.Callback == "first" || c.Callback == "second" || c.Callback == "book")
	if s.poison.how == "loop" {
		bad = c.Callback == "first" && (c.Subject == s.poison.order || c.Total == looping)
	}
	if bad {
		if err := misdeeds()[s.poison.how](ctx, db); err != nil {
			return err
		}
	}
	time.Sleep(s.pace) //nolint:forbidigo // the callback is no quitter: also while the worker drains
	if c.Attempt <= c.Fails && !s.mercy {
		return errors.New("the account is closed")
	}
	if s.fail > 0 && c.Callback == "ship" && c.Attempt == 1 && c.Entry%s.fail == 0 {
		return errors.New("no courier")
	}
	return nil
}

// deep does not end before the stack does.
func deep(n int) int {
	if n < 0 {
		return n
	}
	return deep(n+1) + n
}

// race writes a map from two goroutines until the runtime sees that.
func race() {
	m := make(map[int]int)
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			for i := 0; ; i++ {
				m[i%8] = i
			}
		})
	}
	both.Wait()
}

// hoard takes more memory than the process may have.
func hoard() error {
	limit := syscall.Rlimit{Cur: 4 << 30, Max: 4 << 30}
	if err := syscall.Setrlimit(syscall.RLIMIT_AS, &limit); err != nil {
		return err
	}
	var all [][]byte
	for {
		all = append(all, make([]byte, 64<<20)) // not touched: it takes addresses only
		runtime.KeepAlive(all)
	}
}

// badError is an error that can't be read.
type badError struct{}

// Error implements error, badly.
func (badError) Error() string { panic("an error that panics") }
