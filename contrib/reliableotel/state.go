package reliableotel

import (
	"context"
	"database/sql"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// state is what gauges show: what is so now, as far as the events told.
type state struct {
	monitor *reliable.Monitor
	pools   map[string]*sql.DB

	mu         sync.Mutex
	workers    map[string]int // of this process: their threads
	unwoken    map[string]bool
	open       map[breaker]bool
	latency    measured[*reliable.LatencyMeasured]
	outbox     measured[*reliable.OutboxMeasured]
	dropped    int64 // events, of all subscribers ever
	droppedNow int64 // of the present ones, when last asked
}

// breaker names a callback that has one.
type breaker struct{ context, model, callback string }

func breakerOf(context, model, callback string) breaker { return breaker{context, model, callback} }

func (b breaker) attributes() []attribute.KeyValue {
	return callbackAttributes(&reliable.OutboxEntry{Context: b.context, ResourceClass: b.model}, b.callback)
}

func newState(monitor *reliable.Monitor, pools map[string]*sql.DB) *state {
	return &state{
		monitor: monitor, pools: pools, workers: make(map[string]int), unwoken: make(map[string]bool),
		open: make(map[breaker]bool),
	}
}

// note is a subscriber.
func (s *state) note(event reliable.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e := event.(type) {
	case *reliable.Started:
		s.workers[e.Worker] = e.Threads
	case *reliable.Stopped:
		delete(s.workers, e.Worker)
		delete(s.unwoken, e.Worker)
		s.latency.forget(e.Worker)
		s.outbox.forget(e.Worker)
	case *reliable.WakeupDegraded:
		s.unwoken[e.Worker] = true
	case *reliable.WakeupRestored:
		delete(s.unwoken, e.Worker)
	case *reliable.BreakerOpened:
		s.open[breakerOf(e.Context, e.ResourceClass, e.Callback)] = true
	case *reliable.BreakerClosed:
		s.open[breakerOf(e.Context, e.ResourceClass, e.Callback)] = false // it keeps its series
	case *reliable.LatencyMeasured:
		s.latency.set(e, e.Worker)
	case *reliable.OutboxMeasured:
		s.outbox.set(e, e.Worker)
	}
}

// observe shows the gauges through g until it is told to stop.
func (s *state) observe(meter metric.Meter) (stop func() error, err error) {
	g, all, err := newGauges(meter)
	if err != nil {
		return nil, err
	}
	registration, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.observeWorkers(g, o)
		s.latency.show(g.latency, o)
		s.outbox.show(g.outbox, o)
		s.observePools(g, o)
		return nil
	}, all...)
	if err != nil {
		return nil, err
	}
	return registration.Unregister, nil
}

func (s *state) observeWorkers(g *gauges, o metric.Observer) {
	threads := 0
	for _, n := range s.workers {
		threads += n
	}
	o.ObserveInt64(g.workers, int64(len(s.workers)))
	o.ObserveInt64(g.threads, int64(threads))
	o.ObserveInt64(g.unwoken, int64(len(s.unwoken)))
	for b, open := range s.open {
		value := int64(0)
		if open {
			value = 1
		}
		o.ObserveInt64(g.open, value, metric.WithAttributes(b.attributes()...))
	}
	now := s.monitor.Dropped()
	if now < s.droppedNow { // a subscriber went, and took its count with it
		s.droppedNow = 0
	}
	s.dropped += now - s.droppedNow
	s.droppedNow = now
	o.ObserveInt64(g.dropped, s.dropped)
}

func (s *state) observePools(g *gauges, o metric.Observer) {
	for name, pool := range s.pools {
		stats := pool.Stats()
		of := keyPool.String(name)
		o.ObserveInt64(g.connections, int64(stats.InUse), metric.WithAttributes(of, keyState.String("used")))
		o.ObserveInt64(g.connections, int64(stats.Idle), metric.WithAttributes(of, keyState.String("idle")))
		o.ObserveInt64(g.limit, int64(stats.MaxOpenConnections), metric.WithAttributes(of))
		o.ObserveInt64(g.waits, stats.WaitCount, metric.WithAttributes(of))
		o.ObserveFloat64(g.waited, stats.WaitDuration.Seconds(), metric.WithAttributes(of))
	}
}
