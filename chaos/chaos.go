// Package chaos kills workers where it hurts, and counts what that cost. Its
// tests build the worker in package victim with the tag "failpoints".
package chaos

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Settings of the victims.
const (
	Threads     = 4
	FinishGroup = 5
)

// Order is the model of these tests.
type Order struct {
	ID    uint
	Total int
}

// Callbacks returns a registry with two callbacks for an order that is
// created. Both call run.
func Callbacks(run func(ctx context.Context, c reliable.Change[Order], callback string) error) *reliable.Registry {
	r := new(reliable.Registry)
	for _, name := range []string{"first", "second"} {
		reliable.AfterCreateCommit(r, name, func(ctx context.Context, c reliable.Change[Order]) error { return run(ctx, c, name) })
	}
	return r
}

// Verdict is what a ledger says.
type Verdict struct {
	Done       int      // callbacks that ran, each for an order
	Duplicates int      // entries of which a callback ran more than once
	Faults     []string // what must never be
}

// Read judges a ledger: every run of a callback for an order again must be of
// the same entry, under a higher token.
func Read(path string) (Verdict, error) {
	var v Verdict
	text, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return v, err
	}
	type key struct {
		callback string
		order    int64
	}
	type run struct{ entry, token int64 }
	last := make(map[key]run)
	again := make(map[int64]bool)
	for line := range strings.Lines(string(text)) {
		var k key
		var r run
		if _, err := fmt.Sscan(line, &r.entry, &r.token, &k.callback, &k.order); err != nil || !strings.HasSuffix(line, "\n") {
			continue // a killed process could not end it: it did not happen
		}
		if before, ok := last[k]; ok {
			again[r.entry] = true
			if before.entry != r.entry || before.token >= r.token {
				v.Faults = append(v.Faults, fmt.Sprintf("%s of order %d ran for entry %d under token %d after entry %d under token %d",
					k.callback, k.order, r.entry, r.token, before.entry, before.token))
			}
		}
		last[k] = r
	}
	v.Done, v.Duplicates = len(last), len(again)
	return v, nil
}
