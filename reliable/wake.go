package reliable

import (
	"sync"
	"time"
)

// hintDelays is when to look for entries recorded in a transaction of the
// user's, whose commit nobody reports.
var hintDelays = [...]time.Duration{2 * time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond, 250 * time.Millisecond}

// wakes tells the workers of this process that entries may be due.
type wakes struct {
	mu        sync.Mutex
	listeners map[chan struct{}]bool
	hints     *time.Timer
	step      int
}

// Wakes returns a channel that gets a value soon after a commit of entries in
// this process: at once after a transaction that GORM or the plugin ended,
// with a short back-off after one of the user's. It is a hint that may come
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
		if len(w.listeners) == 0 && w.hints != nil {
			w.hints.Stop()
		}
	}
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
	if len(w.listeners) == 0 {
		return
	}
	w.step = 0
	if w.hints == nil {
		w.hints = time.AfterFunc(hintDelays[0], w.hint)
	} else {
		w.hints.Reset(hintDelays[0])
	}
}

func (w *wakes) hint() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.signal()
	if w.step++; w.step < len(hintDelays) && len(w.listeners) > 0 {
		w.hints.Reset(hintDelays[w.step] - hintDelays[w.step-1])
	}
}

func (w *wakes) signal() {
	for ch := range w.listeners {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}
