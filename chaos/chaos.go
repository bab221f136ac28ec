// Package chaos kills workers, applications and databases where it hurts, and
// counts what that cost. The processes write down what they do in a [Ledger];
// [Check] holds it, and the tables, against the promise:
//
//	I1 every committed change has exactly one entry, one that rolled back none
//	I2 every entry ends done or dead; done means that each callback succeeded
//	I3 entries of a causality key run by id, each when those before it are done
//	I4 an entry is held and run by one worker at a time while its lease is valid
//	I5 an entry runs again only after a kill or a lost lease: so many for each
//	I6 attempts and crashes are counted as they happened
//	I7 when the faults stop, the backlog goes
//	I8 when the workers have stopped, nothing of them is left
//	I9 no secret is in logs, events and errors
//
// For entries of a causality key I4 holds for the key. After a kill or a lost
// lease a key goes back to its first entry that is not durable. The worker in
// package victim is built with the tag "failpoints".
package chaos

import (
	"context"
	"fmt"
	"time"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Settings of the victims.
const (
	Threads     = 4
	FinishGroup = 5
	MaxAttempts = 10                      // of a posting's callbacks
	Bound       = Threads + 2*FinishGroup // entries that may run again after one kill
)

// Canary is a secret: it stands in fields that are marked as sensitive, and in
// passwords. It must not be seen elsewhere.
const Canary = "canary-9f2c41d7"

// Order is the model that scenes create.
type Order struct {
	ID    uint
	Total int
}

// Booking is what a teller's callback writes for an order: no table forbids it
// a second time.
type Booking struct {
	ID       uint
	OrderID  uint
	Callback string
}

// Posting is the model of ordered work: those of an account are booked in
// order.
type Posting struct {
	ID      uint
	Account string `gorm:"size:60;index"` // the causality key
	Number  int    // in the account, from 1
	Fails   int    // how many attempts fail before one succeeds
}

// Call is one run of a callback.
type Call struct {
	Entry, Token int64
	Callback     string
	Attempt      int
	Subject      uint // id of the row
	Total        int
	Fails        int // attempts that are to fail
}

// Callbacks returns a registry with two callbacks for an order that is created,
// two for every change of a sale, and one for every change of a posting, whose
// account is the causality key. All call run.
func Callbacks(run func(ctx context.Context, c Call) error) *reliable.Registry {
	r := new(reliable.Registry)
	for _, name := range []string{"first", "second"} {
		reliable.AfterCreateCommit(r, name, func(ctx context.Context, c reliable.Change[Order]) error {
			return run(ctx, Call{c.Entry.ID, c.Token, name, c.Attempt, c.Model.ID, c.Model.Total, 0})
		})
	}
	for _, name := range []string{"ship", "bill"} {
		reliable.AfterCommit(r, reliable.Callback[Sale]{
			Name:    name,
			Backoff: reliable.Exponential(50*time.Millisecond, time.Second),
			Run: func(ctx context.Context, c reliable.Change[Sale]) error {
				return run(ctx, Call{c.Entry.ID, c.Token, name, c.Attempt, c.Model.ID, c.Model.Total, 0})
			},
			WhenGone: reliable.GoneRun,
		})
	}
	reliable.Register(r, reliable.Model[Posting]{CausalityKey: func(p *Posting) string { return p.Account }})
	reliable.AfterCommit(r, posting("book", run))
	return r
}

// NewCallbacks are those of a later release: a posting owes "tell" as well.
func NewCallbacks(run func(ctx context.Context, c Call) error) *reliable.Registry {
	r := Callbacks(run)
	reliable.AfterCommit(r, posting("tell", run))
	return r
}

// posting returns a callback of postings.
func posting(name string, run func(ctx context.Context, c Call) error) reliable.Callback[Posting] {
	return reliable.Callback[Posting]{
		Name:    name,
		On:      reliable.OpCreate,
		Backoff: reliable.Exponential(20*time.Millisecond, 200*time.Millisecond),
		Run: func(ctx context.Context, c reliable.Change[Posting]) error {
			p := c.After()
			return run(ctx, Call{c.Entry.ID, c.Token, name, c.Attempt, p.ID, 0, p.Fails})
		},
		NoModel:     true,
		MaxAttempts: MaxAttempts,
	}
}

// Idle is a callback that does nothing.
func Idle(context.Context, Call) error { return nil }

// Verdict is what a ledger says of callbacks that run once for each subject.
type Verdict struct {
	Done       int      // callbacks that ran, each for a subject
	Duplicates int      // entries of which a callback ran more than once
	Faults     []string // what must never be
}

// Read judges a ledger: every run of a callback for a subject again must be of
// the same entry, under a higher token.
func Read(path string) (Verdict, error) {
	var v Verdict
	h, err := ReadLedger(path)
	if err != nil {
		return v, err
	}
	last := make(map[string]*Run)
	again := make(map[int64]bool)
	for _, r := range h.Runs {
		if r.Result != "ok" {
			continue
		}
		key := r.Callback + " of " + r.Subject
		if before, ok := last[key]; ok {
			again[r.Entry] = true
			if before.Entry != r.Entry || before.Token >= r.Token {
				v.Faults = append(v.Faults, fmt.Sprintf("%s ran for entry %d under token %d after entry %d under token %d",
					key, r.Entry, r.Token, before.Entry, before.Token))
			}
		}
		last[key] = r
	}
	v.Done, v.Duplicates = len(last), len(again)
	return v, nil
}
