package processors

import (
	"slices"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Assignment says which lanes a worker should own. It can't make two workers
// own one: a lane is taken only from nobody, or from a worker that is dead,
// whatever the assignment wants.
type Assignment interface {
	// Lanes returns the lanes that the worker should own, of those it owns and
	// those that are free. It is called often, from one goroutine, and must not
	// block.
	Lanes(v LaneView) []int
}

// LaneView is what a worker sees of the lanes.
type LaneView struct {
	Owned   []int // its own, in ascending order
	Free    []int // nobody's, or a dead worker's, in ascending order
	Workers int   // live workers with the ordered processor, this one included
}

// Shares is the default Assignment: each worker owns at most its share of the
// lanes, ceil(64 / workers).
type Shares struct{}

// Lanes implements [Assignment]. What is beyond the share is given up from the
// highest lane on.
func (Shares) Lanes(v LaneView) []int {
	share := (reliable.Lanes + max(v.Workers, 1) - 1) / max(v.Workers, 1)
	wanted := slices.Clone(v.Owned[:min(len(v.Owned), share)])
	return append(wanted, v.Free[:min(len(v.Free), share-len(wanted))]...)
}
