package processors

import "time"

const (
	rescanPause = 100 * time.Millisecond // at least, between scans from the start
	rescanEvery = 5 * time.Second        // at most, while full batches come without them
	rescanShare = 20                     // a scan from the start may take one part in 20 of the time
)

// frontier says where scans for fresh entries begin. They go up, past what this
// worker saw and past what others claimed; what commits late, with a lower id,
// is found by scans from the start, which are paced.
type frontier struct {
	mark     int64     // up to here, this worker left nothing that it could have
	behind   int64     // until the mark is here again, what others claimed is not jumped over
	rescanAt time.Time // when a scan from the start may come
	rescanBy time.Time // when it must, though batches are full
	whole    bool      // the last scan left nothing to others up to the mark
}

// start returns the id above which to scan. shared is how far other workers
// have left nothing either.
func (f *frontier) start(now time.Time, shared int64) int64 {
	switch {
	case now.After(f.rescanBy):
		return 0
	case f.mark < f.behind:
		return f.mark
	default:
		return max(f.mark, shared)
	}
}

// scanned notes a scan above from, begun at begun, that read up to last; full
// says that there may be more above that.
func (f *frontier) scanned(from, last int64, full bool, begun time.Time) {
	if from == 0 {
		now := time.Now()
		rest := rescanShare * now.Sub(begun)
		f.rescanAt, f.rescanBy = now.Add(max(rest, rescanPause)), now.Add(max(rest, rescanEvery))
		if full && last < f.mark { // much was left behind: from here on
			f.behind = max(f.behind, f.mark)
			f.mark = last
			return
		}
	}
	f.mark = max(f.mark, from, last)
}

// lower lets the next scans see entries from id on that were given back.
func (f *frontier) lower(id int64) {
	f.behind = max(f.behind, f.mark)
	f.mark = min(f.mark, id-1)
	f.rescanAt = time.Time{}
}
