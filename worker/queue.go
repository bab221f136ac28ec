package worker

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/gorm-aftercommit/aftercommit/healthcheck"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

const (
	batchTime = 250 * time.Millisecond // a claim takes what is done in this time
	leadTime  = 100 * time.Millisecond // the next claim begins when this much work is left
	memory    = 32                     // entries whose average says how long one takes
)

// batch is one claim in work.
type batch struct {
	processors.Claim
	run    *reliable.Batch
	work   context.Context //nolint:containedctx // of its callbacks, which start later
	cancel context.CancelCauseFunc
	over   chan struct{} // closed when every entry is settled

	entries []*reliable.OutboxEntry // not started, and may be; guarded by the queue's mutex
	chains  *chains                 // holds back others; nil if there are none
	running int                     // guarded by the queue's mutex
	waiting []reliable.Outcome      // not durable, nor on their way; guarded by the finisher's mutex
	owing   int                     // without an outcome; guarded by the finisher's mutex
	open    int                     // without a durable one; guarded by the finisher's mutex
	urgent  bool                    // an entry waits until what waits is durable; guarded by the finisher's mutex
	lost    bool                    // guarded by the finisher's mutex
}

// queue hands the entries of claims to the executors, in the order of the
// claims, and tells the claimer when it runs low.
type queue struct {
	threads int
	ended   chan struct{} // closed when the last executor has ended

	mu      sync.Mutex
	more    *sync.Cond // there are batches, or the queue is closed
	low     chan struct{}
	batches []*batch        // with entries that may be started
	ready   int             // how many such entries
	left    int             // with those that are held back
	holding map[*batch]bool // that hold entries back; nil before the first
	chains  int             // keys of which entries are held back
	idle    int             // executors that wait
	alive   int             // executors
	closed  bool
	mean    time.Duration // what an entry takes, lately; 0 is not known
}

func newQueue(threads int) *queue {
	q := &queue{threads: threads, alive: threads, ended: make(chan struct{}), low: make(chan struct{}, 1)}
	q.more = sync.NewCond(&q.mu)
	return q
}

// put adds a claim's entries.
func (q *queue) put(b *batch) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.batches = append(q.batches, b)
	q.ready += len(b.entries)
	q.left += len(b.entries)
	q.hold(b)
	q.more.Broadcast()
}

// take returns the next entry to run, with those that go into one call of a
// BatchProcessor with it, at most most in all. It waits for one; a nil batch is
// the end for this executor.
func (q *queue) take(most int, slot *slot) (*batch, []*reliable.OutboxEntry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		slot.idle()
		if len(q.batches) > 0 && !q.closed {
			b := q.batches[0]
			var group []*reliable.OutboxEntry
			if group, b.entries = b.run.Group(b.entries, most); len(b.entries) == 0 {
				q.batches = q.batches[1:]
			}
			b.running += len(group)
			q.ready -= len(group)
			q.left -= len(group)
			q.signal()
			return b, group
		}
		if q.closed {
			if q.alive--; q.alive == 0 {
				close(q.ended)
			}
			return nil, nil
		}
		q.idle++
		q.signal()
		q.more.Wait()
		q.idle--
	}
}

// done notes that n entries of b were run, which took took in all.
func (q *queue) done(b *batch, n int, took time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	b.running -= n
	took /= time.Duration(n)
	if q.mean == 0 {
		q.mean = took
	}
	q.mean = max(q.mean+(took-q.mean)*time.Duration(min(n, memory))/memory, 1)
}

// drop takes out what was not started of b and returns how many entries that
// is.
func (q *queue) drop(b *batch) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := len(b.entries)
	b.entries = nil
	q.ready -= n
	q.left -= n
	n += q.forget(b)
	q.batches = slices.DeleteFunc(q.batches, func(other *batch) bool { return other == b })
	q.signal()
	return n
}

// signal wakes the claimer if it is time to claim.
func (q *queue) signal() {
	if q.want() > 0 {
		select {
		case q.low <- struct{}{}:
		default:
		}
	}
}

// want returns how many entries to claim now; 0 is none. Fast work is claimed
// ahead, slow work only for executors that wait: another worker may have some.
func (q *queue) want() int {
	in := func(d time.Duration) int {
		if q.mean == 0 {
			return q.threads
		}
		return int(min(d*time.Duration(q.threads)/q.mean, MaxBatchSize))
	}
	enough := q.left >= in(leadTime) && (q.left == q.ready || q.ready+q.chains >= q.threads)
	waits := q.ready == 0 && q.idle > 0 // an executor, though entries may be held back
	switch {
	case q.closed, !waits && q.left > 0 && (len(q.batches) > 1 || enough), !waits && q.ready == 0 && q.mean > leadTime:
		return 0
	}
	return max(in(batchTime), q.idle, 1)
}

// wait returns how many entries to claim as soon as it is time to, or 0 when
// ctx is done.
func (q *queue) wait(ctx context.Context, slot *slot) int {
	for ctx.Err() == nil {
		slot.beat(healthcheck.Fresh)
		q.mu.Lock()
		n := q.want()
		q.mu.Unlock()
		if n > 0 {
			return n
		}
		select {
		case <-q.low:
		case <-ctx.Done():
		}
	}
	return 0
}

// tick makes those who wait show that they live.
func (q *queue) tick() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.more.Broadcast()
	select {
	case q.low <- struct{}{}:
	default:
	}
}

// close lets the executors end. It returns the batches with entries that were
// not started.
func (q *queue) close() []*batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.more.Broadcast()
	rest := slices.Clone(q.batches)
	for b := range q.holding {
		if len(b.entries) == 0 { // or else it is there already
			rest = append(rest, b)
		}
	}
	return rest
}

// busy returns how many executors have not ended.
func (q *queue) busy() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.alive
}

// runs reports whether an entry of b runs.
func (q *queue) runs(b *batch) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return b.running > 0
}
