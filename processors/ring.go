package processors

import (
	"slices"
	"time"
)

const (
	lanesRead     = 16                     // at least, if the worker has so many, so that a claim has several keys
	keysPerThread = 4                      // in one claim, likewise
	gapTime       = 100 * time.Millisecond // that a stretch of a lane is passed over in which nothing could run, at least
	gapShare      = 5 * time.Millisecond   // more, for each such stretch,
	longestGap    = 10 * time.Second       // at most
	mostGaps      = 10_000                 // that are remembered
	widest        = 16                     // how many times more of a lane a read may have
	lookTime      = 100 * time.Millisecond // that one Claim may look, in several transactions
)

// ring says where the reads of a worker's lanes begin. A lane is read by key
// from its cursor on, and again from the first key when it is through, so that
// each key is read from its first entry on, and a key with very many entries
// takes no more than its turn.
type ring struct {
	keys   int   // that a claim should have, if there are as many
	lanes  []int // in the order of the next read
	spots  map[int]*spot
	gaps   map[place]gap
	asked  int       // lanes that the last read looked at
	filled int       // those of them that had something; 0 if none, or if it was not read to its end
	least  int       // what they have at least
	endBy  time.Time // when this Claim has looked for long enough
	wider  int       // how many times as much of each lane is read: twice as much after each read of no use
}

// spot is how far a lane is read.
type spot struct {
	after string // the last key
	ends  int    // how often its end must be reached until this Claim has seen all of it
}

// place is a cursor's.
type place struct {
	lane  int
	after string
}

// gap is a stretch of a lane in which nothing could run.
type gap struct {
	to    string // its last key
	until time.Time
}

// turnTo notes the lanes to read.
func (r *ring) turnTo(lanes []int) {
	if r.spots == nil {
		r.spots, r.gaps = make(map[int]*spot), make(map[place]gap)
	}
	kept := slices.DeleteFunc(r.lanes, func(lane int) bool { return !slices.Contains(lanes, lane) })
	for _, lane := range lanes {
		if !slices.Contains(kept, lane) {
			kept = append(kept, lane)
			r.spots[lane] = new(spot)
		}
	}
	r.lanes = kept
}

// begin is called before the reads of a Claim.
func (r *ring) begin() {
	r.endBy, r.wider = time.Now().Add(lookTime), 1
	for _, s := range r.spots {
		if s.ends = 1; s.after != "" {
			s.ends = 2
		}
	}
}

// more reports whether a Claim that found nothing should look on: it has not
// seen all, and there is time.
func (r *ring) more() bool {
	r.wider = min(2*r.wider, widest)
	return time.Now().Before(r.endBy) && slices.ContainsFunc(r.lanes, func(lane int) bool { return r.spots[lane].ends > 0 })
}

// size returns how many lanes to read, and how many entries of each, so that n
// are found in as many keys as a claim should have. Few lanes are read deep
// rather than many a little, if they have so much: each read of a lane passes
// over what was finished before it in the index.
func (r *ring) size(n int) (lanes, each int) {
	lanes = len(r.lanes)
	full := lanes // that should have something
	if r.filled > 0 {
		lanes = min(max(max(r.keys, lanesRead)*r.asked/r.filled, n*r.asked/max(r.least, 1)+1), lanes)
		full = (lanes*r.filled + r.asked - 1) / r.asked
	}
	return lanes, max((n+max(full, 1)-1)/max(full, 1), 2) * max(r.wider, 1)
}

// after returns the cursor of a lane, beyond what is known to be of no use now.
func (r *ring) after(lane int, now time.Time) string {
	s := r.spots[lane]
	for {
		g, ok := r.gaps[place{lane, s.after}]
		if !ok {
			return s.after
		}
		if now.After(g.until) {
			delete(r.gaps, place{lane, s.after})
			return s.after
		}
		s.after = g.to
	}
}

// passed moves a lane's cursor from where a read of it began to the last key
// that it had. ended says that the lane had no more.
func (r *ring) passed(lane int, last string, ended, idle bool) {
	s := r.spots[lane]
	switch {
	case ended:
		s.after = ""
		s.ends--
	default:
		if idle && last > s.after {
			if len(r.gaps) >= mostGaps {
				clear(r.gaps)
			}
			r.gaps[place{lane, s.after}] = gap{last, time.Now().Add(min(gapTime+time.Duration(len(r.gaps))*gapShare, longestGap))}
		}
		s.after = last
	}
}

// turn lets the next read begin n lanes further on.
func (r *ring) turn(n int) {
	if len(r.lanes) > 0 {
		n %= len(r.lanes)
		r.lanes = slices.Concat(r.lanes[n:], r.lanes[:n])
	}
}

// forget lets the next reads look everywhere again.
func (r *ring) forget() { clear(r.gaps) }
