package reliableotel

import (
	"errors"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// gauges are the instruments that are asked.
type gauges struct {
	workers, threads, unwoken, open, connections, limit metric.Int64ObservableGauge
	dropped, waits                                      metric.Int64ObservableCounter
	waited                                              metric.Float64ObservableCounter
	latency                                             []reading[*reliable.LatencyMeasured]
	outbox                                              []reading[*reliable.OutboxMeasured]
}

// reading is a gauge that shows a number of the last event of type E.
type reading[E any] struct {
	name, unit, description string
	value                   func(E) float64
	gauge                   metric.Float64ObservableGauge
}

func latencyReadings() []reading[*reliable.LatencyMeasured] {
	type event = *reliable.LatencyMeasured
	return []reading[event]{
		{name: "reliable.latency.minimum", unit: "s", description: "Shortest time from creation to end, of the last minute.", value: func(e event) float64 { return e.Minimum.Seconds() }},
		{name: "reliable.latency.maximum", unit: "s", description: "Longest time from creation to end, of the last minute.", value: func(e event) float64 { return e.Maximum.Seconds() }},
		{name: "reliable.latency.average", unit: "s", description: "Average time from creation to end, of the last minute.", value: func(e event) float64 { return e.Average.Seconds() }},
		{name: "reliable.latency.highest_since_creation_date", unit: "s", description: "Age of the oldest entry that is neither done nor dead.", value: func(e event) float64 { return e.Oldest.Seconds() }},
		{name: "reliable.latency.overdue", unit: "s", description: "How long an entry has been due, at most.", value: func(e event) float64 { return e.Overdue.Seconds() }},
		{name: "reliable.backlog", unit: "{entry}", description: "Entries that were never tried, up to 10,000.", value: func(e event) float64 { return float64(e.Backlog) }},
	}
}

func outboxReadings() []reading[*reliable.OutboxMeasured] {
	type event = *reliable.OutboxMeasured
	number := func(name, unit, description string, value func(event) int64) reading[event] {
		return reading[event]{name: "reliable.outbox." + name, unit: unit, description: description, value: func(e event) float64 { return float64(value(e)) }}
	}
	age := func(name, description string, value func(event) time.Duration) reading[event] {
		return reading[event]{name: "reliable.outbox.age." + name, unit: "s", description: description, value: func(e event) float64 { return value(e).Seconds() }}
	}
	return []reading[event]{
		number("pending", "{entry}", "Entries that are neither done nor dead.", func(e event) int64 { return e.Pending.N }),
		number("eligible", "{entry}", "Entries that a worker may claim.", func(e event) int64 { return e.Eligible.N }),
		number("waiting", "{entry}", "Entries that failed and are not due yet.", func(e event) int64 { return e.Waiting.N }),
		number("held", "{entry}", "Entries that workers hold.", func(e event) int64 { return e.Held.N }),
		number("dead", "{entry}", "Entries that are kept for an operator.", func(e event) int64 { return e.Dead.N }),
		number("parked", "{key}", "Causality keys that stand still.", func(e event) int64 { return e.ParkedKeys.N }),
		number("orphans", "{entry}", "Entries that the worker that looked does not cover.", func(e event) int64 { return e.Orphans.N }),
		number("workers", "{worker}", "Workers that live.", func(e event) int64 { return int64(e.Workers) }),
		number("threads", "{thread}", "Callbacks that they run at the same time.", func(e event) int64 { return int64(e.Threads) }),
		number("pauses", "{pause}", "Pauses that operators made and did not end.", func(e event) int64 { return int64(e.Pauses) }),
		number("dead_rows", "{row}", "Dead row versions of the worst table; on MariaDB the undo log's length.", func(e event) int64 { return e.DeadRows }),
		age("eligible", "Since the oldest entry was written that a worker may claim.", func(e event) time.Duration { return e.OldestEligible }),
		age("dead", "Since the first of the dead entries died.", func(e event) time.Duration { return e.OldestDead }),
		age("parked", "Since the first of the parked keys was parked.", func(e event) time.Duration { return e.OldestParked }),
		age("orphans", "Since the oldest orphan was written.", func(e event) time.Duration { return e.OldestOrphan }),
	}
}

// newGauges makes all of them, and returns them as a list too.
func newGauges(meter metric.Meter) (*gauges, []metric.Observable, error) {
	g := &gauges{latency: latencyReadings(), outbox: outboxReadings()}
	var all []metric.Observable
	var errs []error
	for _, i := range []struct {
		into                    *metric.Int64ObservableGauge
		name, unit, description string
	}{
		{&g.workers, "reliable.process.workers", "{worker}", "Workers that run in this process."},
		{&g.threads, "reliable.process.threads", "{thread}", "Callbacks that they run at the same time."},
		{&g.unwoken, "reliable.process.unwoken", "{worker}", "Of those workers, which the commits of other processes do not wake."},
		{&g.open, "reliable.breaker.open", "{breaker}", "1 while a callback rests because it failed too often."},
		{&g.connections, "reliable.pool.connections", "{connection}", "Connections of a pool."},
		{&g.limit, "reliable.pool.limit", "{connection}", "How many a pool may have; 0 is any number."},
	} {
		gauge, err := meter.Int64ObservableGauge(i.name, metric.WithUnit(i.unit), metric.WithDescription(i.description))
		*i.into = gauge
		all, errs = append(all, gauge), append(errs, err)
	}
	for _, i := range []struct {
		into                    *metric.Int64ObservableCounter
		name, unit, description string
	}{
		{&g.dropped, "reliable.monitor.events.dropped", "{event}", "Events that subscribers were too slow for."},
		{&g.waits, "reliable.pool.waits", "{wait}", "Times that somebody waited for a connection of a pool."},
	} {
		counter, err := meter.Int64ObservableCounter(i.name, metric.WithUnit(i.unit), metric.WithDescription(i.description))
		*i.into = counter
		all, errs = append(all, counter), append(errs, err)
	}
	var err error
	g.waited, err = meter.Float64ObservableCounter("reliable.pool.wait.duration", metric.WithUnit("s"), metric.WithDescription("How long they waited, in all."))
	all, errs = append(all, g.waited), append(errs, err)
	latency, err := makeReadings(meter, g.latency)
	errs = append(errs, err)
	outbox, err := makeReadings(meter, g.outbox)
	return g, append(append(all, latency...), outbox...), errors.Join(append(errs, err)...)
}

func makeReadings[E any](meter metric.Meter, readings []reading[E]) (all []metric.Observable, err error) {
	var errs []error
	for i := range readings {
		r := &readings[i]
		r.gauge, err = meter.Float64ObservableGauge(r.name, metric.WithUnit(r.unit), metric.WithDescription(r.description))
		all, errs = append(all, r.gauge), append(errs, err)
	}
	return all, errors.Join(errs...)
}

// measured is the last event of type E, as long as it counts.
type measured[E reliable.Event] struct {
	event  E
	at     time.Time
	worker string // empty: there is none
}

// measurementHolds is how long a measurement counts. The worker that measures
// for all does so once a minute; once another does, this one has nothing to
// tell.
const measurementHolds = 5 * time.Minute

func (m *measured[E]) set(e E, worker string) { *m = measured[E]{e, time.Now(), worker} }

// forget drops what a worker measured that is no more.
func (m *measured[E]) forget(worker string) {
	if m.worker == worker {
		*m = measured[E]{}
	}
}

func (m *measured[E]) show(readings []reading[E], o metric.Observer) {
	if m.worker == "" || time.Since(m.at) > measurementHolds {
		return
	}
	for _, r := range readings {
		o.ObserveFloat64(r.gauge, r.value(m.event))
	}
}
