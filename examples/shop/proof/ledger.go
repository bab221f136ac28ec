// Package proof shows from outside that an outbox kept its promise: what
// committed is in a log that database triggers write (changes.go), what ran is
// in a ledger that the callbacks write (ledger.go), and Judge compares the two
// (verdict.go). Neither knows anything of the outbox's tables.
package proof

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Run is a line of the ledger: one run of one callback for one entry.
type Run struct {
	Entry     int64         `json:"entry"`
	Class     string        `json:"class"`
	ID        string        `json:"id"`        // of the row that changed
	Operation string        `json:"operation"` // create, update or destroy
	Callback  string        `json:"callback"`
	Attempt   int           `json:"attempt"`
	Token     int64         `json:"token"` // fencing token of the claim
	PID       int           `json:"pid"`
	Waited    time.Duration `json:"waited_ns"` // from the entry's insert, just before COMMIT, to the start of this run
	Outcome   Outcome       `json:"outcome"`
}

// Outcome is how a run ended.
type Outcome string

// How a run ends.
const (
	Done     Outcome = "done"
	Failed   Outcome = "failed"
	Panicked Outcome = "panicked"
)

// Ledger is where a worker process notes what it ran. Many goroutines and many
// processes may append to one file.
type Ledger struct {
	out io.Writer
	pid int
}

// NewLedger returns a ledger that appends to out: one Write per line.
func NewLedger(out io.Writer) *Ledger { return &Ledger{out: out, pid: os.Getpid()} }

// OpenLedger returns a ledger that appends to a file. It begins with an empty
// line, so that a line that a killed process could not end spoils no other.
func OpenLedger(path string) (*Ledger, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err := file.WriteString("\n"); err != nil {
		return nil, err
	}
	return NewLedger(file), nil
}

// Middleware is a [reliable.Middleware] that notes every attempt when it ends.
// A run that can't be noted is a failed one.
func (l *Ledger) Middleware(ctx context.Context, a reliable.Attempt, next func(context.Context) error) (err error) {
	run := Run{
		Entry: a.Entry.ID, Class: a.Entry.ResourceClass, ID: a.Entry.ResourceID, Operation: operation(a.Entry.EventName),
		Callback: a.Callback, Attempt: a.Number, Token: a.Token, PID: l.pid,
		Waited: time.Since(a.Entry.CreatedAt), Outcome: Panicked,
	}
	defer func() { err = errors.Join(err, l.append(run)) }()
	if err = next(ctx); err != nil {
		run.Outcome = Failed
	} else {
		run.Outcome = Done
	}
	return err
}

// operation reads the kind of write from an event name like "order_created".
func operation(event string) string {
	switch event[strings.LastIndexByte(event, '_')+1:] {
	case "created":
		return Create
	case "updated":
		return Update
	case "destroyed":
		return Destroy
	default:
		return event
	}
}

func (l *Ledger) append(r Run) error {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	if _, err := l.out.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return nil
}

// ReadLedger returns the runs in a file. torn is how many lines are no runs:
// each killed process may leave one that it could not end, and what such a
// run did was never finished in the outbox either.
func ReadLedger(path string) (runs []Run, torn int, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, 0, fmt.Errorf("ledger: %w", err)
	}
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		var r Run
		if json.Unmarshal(line, &r) != nil {
			torn++
			continue
		}
		runs = append(runs, r)
	}
	return runs, torn, nil
}

// CountRuns returns how many runs a ledger file holds so far; none if there is
// no file.
func CountRuns(path string) (int, error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("ledger: %w", err)
	}
	return bytes.Count(text, []byte("}\n")), nil
}
