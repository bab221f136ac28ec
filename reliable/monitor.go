package reliable

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// subscriberQueue is how many events wait for a slow subscriber before new
// ones are dropped for it.
const subscriberQueue = 4096

// Monitor passes events to subscribers. The zero value is ready. Each
// subscriber has a queue and, while that is not empty, a goroutine of its own:
// one that blocks or panics costs its own events, never the worker's time.
// Events reach one subscriber in order.
type Monitor struct {
	mu          sync.Mutex
	subscribers atomic.Pointer[[]*subscriber] // copied on write, read without the lock
}

// subscriber is one function with its queue.
type subscriber struct {
	fn func(Event)

	mu      sync.Mutex
	queue   []Event
	running bool
	closed  bool
	idle    chan struct{} // closed when the goroutine ends
	dropped atomic.Int64
}

// Subscribe calls fn with every event of type E published from now on, until
// cancel is called. E is the pointer to an event struct, or Event for all.
func Subscribe[E Event](m *Monitor, fn func(E)) (cancel func()) {
	return m.Subscribe(func(e Event) {
		if typed, ok := e.(E); ok {
			fn(typed)
		}
	})
}

// Subscribe calls fn with every event published from now on, until cancel is
// called. After cancel returned, fn is not called any more, but for a call
// that is running.
func (m *Monitor) Subscribe(fn func(Event)) (cancel func()) {
	s := &subscriber{fn: fn}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.store(append(slices.Clone(m.load()), s))
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.store(slices.DeleteFunc(slices.Clone(m.load()), func(other *subscriber) bool { return other == s }))
		s.close()
	}
}

// SubscribeTo is Subscribe for the events of one name. An unknown name is an
// error that lists the known ones.
func (m *Monitor) SubscribeTo(name string, fn func(Event)) (cancel func(), err error) {
	known := eventNames()
	if !slices.Contains(known, name) {
		return nil, fmt.Errorf("reliable: no event is called %q: known are %s", name, strings.Join(known, ", "))
	}
	return m.Subscribe(func(e Event) {
		if e.Name() == name {
			fn(e)
		}
	}), nil
}

// Publish queues e for every subscriber and returns at once. The error of a
// worker's own event is wrapped in one without what [Redact] takes out, if there
// is such a thing in its text.
func (m *Monitor) Publish(e Event) {
	if m.Active() {
		switch e := e.(type) {
		case *ErrorOccurred:
			e.Err = cleanErr(e.Err)
		case *WakeupDegraded:
			e.Err = cleanErr(e.Err)
		case *Stopped:
			e.Err = cleanErr(e.Err)
		case *ShuttingDown:
			e.Cause = cleanErr(e.Cause)
		}
	}
	for _, s := range m.load() {
		s.push(e)
	}
}

// Active reports whether anybody subscribes, so that a caller can save itself
// the making of events that nobody reads.
func (m *Monitor) Active() bool { return len(m.load()) > 0 }

// Dropped returns how many events the present subscribers did not get because
// their queues were full.
func (m *Monitor) Dropped() int64 {
	var n int64
	for _, s := range m.load() {
		n += s.dropped.Load()
	}
	return n
}

// Flush waits until the subscribers have handled what was published before, or
// until ctx is done.
func (m *Monitor) Flush(ctx context.Context) error {
	for _, s := range m.load() {
		if idle := s.drained(); idle != nil {
			select {
			case <-idle:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

func (m *Monitor) load() []*subscriber {
	if p := m.subscribers.Load(); p != nil {
		return *p
	}
	return nil
}

func (m *Monitor) store(list []*subscriber) { m.subscribers.Store(&list) }

// push queues e and starts the goroutine if it rests.
func (s *subscriber) push(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
	case len(s.queue) >= subscriberQueue:
		s.dropped.Add(1)
	default:
		s.queue = append(s.queue, e)
		if !s.running {
			s.running, s.idle = true, make(chan struct{})
			go s.run()
		}
	}
}

// run hands events over until the queue is empty. A function that panics or
// calls runtime.Goexit loses that one event; a new goroutine goes on.
func (s *subscriber) run() {
	var rest []Event
	empty := false
	defer func() {
		if !empty {
			_ = recover()
			s.mu.Lock()
			s.queue = append(rest, s.queue...)
			s.mu.Unlock()
			go s.run()
		}
	}()
	for {
		s.mu.Lock()
		rest, s.queue = s.queue, nil
		if len(rest) == 0 {
			empty, s.running = true, false
			close(s.idle)
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		for len(rest) > 0 {
			e := rest[0]
			rest = rest[1:]
			s.fn(e)
		}
	}
}

// drained returns a channel that closes when the queue is empty, nil if it is.
func (s *subscriber) drained() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running {
		return nil
	}
	return s.idle
}

func (s *subscriber) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed, s.queue = true, nil
}
