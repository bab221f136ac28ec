// Package processorstest checks that an implementation of
// [processors.EntriesProcessor] keeps what the interface promises, on a real
// database: entries are held once, finishes are durable and fenced, what is
// given back is given back whole.
//
//	func TestMine(t *testing.T) {
//		processorstest.Run(t, processorstest.Harness{
//			Database: func(t testing.TB) func() (*gorm.DB, error) { ... },
//			New:      func(lease time.Duration) processors.EntriesProcessor { return &Mine{LeaseTTL: lease} },
//		})
//	}
package processorstest

import (
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/processors"
)

// Harness makes what the checks need. Both fields are required.
type Harness struct {
	// Database makes an empty database that lives as long as t and returns what
	// opens a handle on it, without the plugin. Each check has a database of its
	// own.
	Database func(t testing.TB) (open func() (*gorm.DB, error))

	// New returns a processor whose lease ends that long after its last
	// heartbeat. It may return one that completes entries in any of the ways.
	New func(lease time.Duration) processors.EntriesProcessor
}

// Run runs every check as a subtest.
func Run(t *testing.T, h Harness) {
	for _, c := range checks() {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t, h, 30*time.Second)
			if err := c.run(s); err != nil {
				t.Errorf("%s: %v", c.promise, err)
			}
		})
	}
}

// check is one promise of the interface.
type check struct {
	name    string
	promise string
	run     func(s *stage) error
}

func checks() []check {
	return []check{
		{"nothing due", "a claim of nothing is nil, without an error", nothingDue},
		{"batches", "a claim has at most n entries, by id, each once", batches},
		{"held once", "no two workers hold an entry at the same time", heldOnce},
		{"tokens", "tokens grow from claim to claim", tokens},
		{"not covered", "a worker leaves alone what its binary does not cover", notCovered},
		{"cancelled", "a claim that is broken off holds nothing", cancelled},
		{"finish", "what is finished is never claimed again", finish},
		{"finish repeated", "a finish that is repeated changes nothing", finishRepeated},
		{"finish fenced", "after others took over, a finish is ErrLeaseLost and changes nothing", finishFenced},
		{"finish of many", "claims may be finished from many goroutines while others are made", finishOfMany},
		{"finish in a transaction", "what is finished in a transaction is finished when that commits", commitsIn},
		{"rollback", "what is finished in a transaction is not when that is rolled back", rollsBackIn},
		{"transaction fenced", "after others took over, FinishIn is ErrLeaseLost and changes nothing", fencedIn},
		{"retry", "a failed entry comes again when it is due, with its state", retry},
		{"snooze", "what is put off burns no attempt, and waits", snooze},
		{"dead", "a dead entry stays, with its error, and is not claimed", dead},
		{"release", "what is given back is due at once, together, with nothing burnt", release},
		{"release of the rest", "a release gives back what is not finished, and only that", releaseOfRest},
		{"renewal", "a worker that lives keeps what it holds", renewal},
		{"lost", "Lost is closed when others may take the claim, and the worker goes on", lost},
		{"take-over", "what a dead worker held is claimed by others, under higher tokens", takeOver},
		{"end", "Run returns nil after its context, and leaves no row of the worker", end},
		{"no tables", "Run returns an error at once if the tables are missing", noTables},
	}
}
