package reliable

import (
	"context"
	"sync"
	"time"
)

// When to look for entries recorded in a transaction of the user's, whose
// commit nobody reports: soon, and each time five times later.
const (
	firstHint = 2 * time.Millisecond
	lastHint  = 250 * time.Millisecond
)

// wakes tells workers that entries may be due: those of this process, and by
// the notifier those of others.
type wakes struct {
	others notifier

	mu        sync.Mutex
	closed    bool
	listeners map[chan struct{}]bool
	hints     *time.Timer
	gap       time.Duration // before the hint that is to come; 0 if none is
}

// Wakes returns a channel that gets a value soon after a commit of entries in
// this process: at once after a transaction that GORM or the plugin ended, or
// that a tracer tells of (see [Traced]), with a short back-off after another of
// the user's. It is a hint that may come
// too early, twice or not at all. The caller must call stop.
func (p *Plugin) Wakes() (wake <-chan struct{}, stop func()) {
	ch := make(chan struct{}, 1)
	w := &p.wakes
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.listeners == nil {
		w.listeners = make(map[chan struct{}]bool)
	}
	w.listeners[ch] = true
	return ch, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.listeners, ch)
		if w.deserted() {
			w.rest()
		}
	}
}

// Wake tells workers that entries may be due, as a commit of entries does: those
// of this process at once, on PostgreSQL also those of others. It is for what
// makes entries due in another way, after the commit of that.
func (p *Plugin) Wake() { p.wakes.now() }

// deserted reports whether there is nobody to wake.
func (w *wakes) deserted() bool { return len(w.listeners) == 0 && w.others.pool == nil }

// rest ends a back-off.
func (w *wakes) rest() {
	if w.hints != nil {
		w.hints.Stop()
	}
	w.gap = 0
}

// close ends what goes on by itself. It waits until other processes know of
// what is committed, or until ctx is done.
func (w *wakes) close(ctx context.Context) error {
	w.mu.Lock()
	w.closed = true
	if w.gap > 0 { // commits that nobody reported
		w.signal()
	}
	w.rest()
	w.mu.Unlock()
	return w.others.close(ctx)
}

// now wakes every listener.
func (w *wakes) now() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.signal()
}

// soon wakes every listener a few times over the next quarter second. The
// back-off starts anew with each call.
func (w *wakes) soon() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.deserted() {
		return
	}
	switch {
	case w.gap == firstHint: // it comes soon enough, also if writes never end
	case w.hints == nil:
		w.gap, w.hints = firstHint, time.AfterFunc(firstHint, w.hint)
	default:
		w.gap = firstHint
		w.hints.Reset(firstHint)
	}
}

func (w *wakes) hint() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gap == 0 { // ended while the timer fired
		return
	}
	w.signal()
	if w.gap *= 5; w.gap > lastHint || w.deserted() {
		w.gap = 0
		return
	}
	w.hints.Reset(w.gap)
}

func (w *wakes) signal() {
	for ch := range w.listeners {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
	w.others.ping()
}
