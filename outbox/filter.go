package outbox

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Filter selects entries: those to which everything applies that is set.
//
// Indexes serve IDs, Key, and the states [Waiting], [Held], [Dead] and [Parked].
// With anything else the table is read in the order of ids, and no more than
// [MaxLooked] rows of it for a page. What is set besides is looked for in what
// the index tells of. Of a Key, dead entries that are outside of
// the order (skipped ones, and all of workers that keep none) are found with
// [Dead] only.
type Filter struct {
	IDs   []int64 // at most [MaxIDs]
	State State

	Context    string // [reliable.ContextModel] for captured writes, or the application's own
	Model      string // name of the model as the entry has it, for example "Order"
	ModelID    string // its primary key, as the entry has it
	Event      string // for example "order_created"
	Key        string // causality key
	Callback   string // name of a callback that is owed
	ErrorClass string // of the last failure, for example "timeout"

	OlderThan, YoungerThan time.Duration // since the entry was written; 0 for any

	After int64 // an id: entries above it only
	Limit int   // of the entries; what 0 means is said where the filter is used
}

// The bounds of what one call reads.
const (
	MaxLooked    = 100_000 // rows of the table, for one page or count
	MaxIDs       = 10_000  // of a filter
	MaxPage      = 10_000  // entries of a page
	DefaultLimit = 100     // entries of a page, if the filter does not say
)

// check returns all mistakes of a filter. states are those that the operation
// takes, none for all.
func (f Filter) check(states ...State) error {
	var errs []error
	known := []State{"", Pending, Eligible, Waiting, Held, Dead, Parked, Orphan}
	if len(states) == 0 {
		states = known
	}
	switch {
	case !slices.Contains(known, f.State):
		errs = append(errs, fmt.Errorf("the filter's State is %q: want one of %q", f.State, known[1:]))
	case !slices.Contains(states, f.State):
		errs = append(errs, fmt.Errorf("the filter's State is %q: this takes %q, or none", f.State, states[1:]))
	}
	if len(f.IDs) > MaxIDs {
		errs = append(errs, fmt.Errorf("the filter's IDs has %d: want at most %d", len(f.IDs), MaxIDs))
	}
	if f.Limit < 0 {
		errs = append(errs, fmt.Errorf("the filter's Limit is %d: want 0 or more", f.Limit))
	}
	if f.After < 0 {
		errs = append(errs, fmt.Errorf("the filter's After is %d: want an id, or 0 for the beginning", f.After))
	}
	if f.OlderThan < 0 || f.YoungerThan < 0 {
		errs = append(errs, fmt.Errorf("the filter's OlderThan is %s, YoungerThan is %s: want 0 or more", f.OlderThan, f.YoungerThan))
	}
	if f.YoungerThan > 0 && f.OlderThan >= f.YoungerThan {
		errs = append(errs, fmt.Errorf("the filter: no entry is older than %s and younger than %s: want OlderThan below YoungerThan", f.OlderThan, f.YoungerThan))
	}
	return errors.Join(errs...)
}

// Empty reports whether the filter selects everything: whatever its After and
// its Limit are.
func (f Filter) Empty() bool {
	return len(f.IDs) == 0 && f.State == "" && f.Context+f.Model+f.ModelID+f.Event+f.Key+f.Callback+f.ErrorClass == "" && f.OlderThan == 0 && f.YoungerThan == 0
}
