package processors

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// lap reads a lane of keys, one entry each, as a Claim that finds nothing does,
// until the ring says that all is seen. It returns the keys that were read.
func lap(r *ring, lane int, keys []string) (seen []string) {
	r.begin()
	for {
		_, each := r.size(1)
		after := r.after(lane, time.Now())
		from, found := slices.BinarySearch(keys, after)
		if found {
			from++
		}
		rows := keys[from:min(from+each, len(keys))]
		seen = append(seen, rows...)
		last := ""
		if len(rows) == each {
			last = rows[each-1]
		}
		r.passed(lane, last, len(rows) < each, true)
		if !r.more() {
			return seen
		}
	}
}

// A Claim that finds nothing has read every key since it began, but for those
// that stood still a moment ago; once that is over, it reads all again.
func TestRingComesRound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r ring
		r.turnTo([]int{3})
		keys := make([]string, rapid.IntRange(0, 300).Draw(t, "keys"))
		for i := range keys {
			keys[i] = fmt.Sprintf("%04d", i)
		}
		r.spots[3].after = fmt.Sprintf("%04d", rapid.IntRange(0, 400).Draw(t, "cursor"))
		seen := lap(&r, 3, keys)
		slices.Sort(seen)
		if seen = slices.Compact(seen); !slices.Equal(seen, keys) {
			t.Fatalf("the first lap read %d of %d keys", len(seen), len(keys))
		}
		if again := lap(&r, 3, keys); len(again) > len(keys) {
			t.Fatalf("the next lap read %d keys of %d that stood still", len(again), len(keys))
		}
		r.forget()
		seen = lap(&r, 3, keys)
		slices.Sort(seen)
		if seen = slices.Compact(seen); !slices.Equal(seen, keys) {
			t.Fatalf("after all was forgotten, a lap read %d of %d keys", len(seen), len(keys))
		}
	})
}

// What stands still is remembered for a while, and is read again after that.
func TestRingForgetsGaps(t *testing.T) {
	var r ring
	r.turnTo([]int{0})
	r.passed(0, "b", false, true)
	r.passed(0, "d", false, true)
	r.spots[0].after = ""
	if got := r.after(0, time.Now()); got != "d" {
		t.Errorf("after() = %q at once, want d", got)
	}
	r.spots[0].after = ""
	if got := r.after(0, time.Now().Add(time.Minute)); got != "" {
		t.Errorf("after() = %q a minute later, want the beginning", got)
	}
}

// Lanes that are given up are not read, and those that stay keep their cursors.
func TestRingTurns(t *testing.T) {
	var r ring
	r.turnTo([]int{1, 2, 3})
	r.passed(2, "k", false, false)
	r.turn(1)
	r.turnTo([]int{2, 3, 4})
	if !slices.Equal(r.lanes, []int{2, 3, 4}) || r.spots[2].after != "k" {
		t.Errorf("lanes %v, cursor %q, want 2, 3 and 4, and k", r.lanes, r.spots[2].after)
	}
	r.turnTo([]int{3})
	r.turnTo([]int{2, 3})
	if r.spots[2].after != "" {
		t.Errorf("a lane that was given up and taken again begins at %q, want the beginning", r.spots[2].after)
	}
}
