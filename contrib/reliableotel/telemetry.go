// Package reliableotel tells OpenTelemetry of the outbox: a span for each run
// of a callback, with a link to the trace in which its change was made, and
// metrics of the worker.
//
// [Telemetry] takes providers, or the global ones: your program makes the
// exporters, and shuts them down after the worker. Package
// reliableotel/prometheus is a provider for programs that are scraped.
//
// A span carries names, numbers and the Go type of an error, and a metric less
// than that: never what is in a changeset, an argument, a header, a causality
// key or an error's text.
package reliableotel

import (
	"cmp"
	"database/sql"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Scope is the name of the tracer and the meter.
const Scope = "github.com/gorm-aftercommit/aftercommit/contrib/reliableotel"

// System is the attribute messaging.system of all spans.
const System = "aftercommit"

// Telemetry says where spans and metrics go. The zero value uses the global
// providers.
type Telemetry struct {
	// TracerProvider makes the spans. Nil means [otel.GetTracerProvider].
	// Give it a batching span processor: one that exports at each span's end
	// takes the callback's time for it.
	TracerProvider trace.TracerProvider

	// MeterProvider makes the metrics. Nil means [otel.GetMeterProvider].
	MeterProvider metric.MeterProvider

	// Propagator writes a writer's trace context into the headers of an entry,
	// and reads it there. Nil means [propagation.TraceContext]: the headers
	// traceparent and tracestate. With [propagation.Baggage] too, callbacks
	// have the writer's baggage, and the table keeps it.
	Propagator propagation.TextMapPropagator

	// Child makes the span of a run the child of the change's, in the same
	// trace. Otherwise it begins a trace of its own that links to the change:
	// retries come hours later, and a bulk write would be one huge trace. The
	// span of a batch processor's call always has links.
	Child bool

	// Pools are the connection pools to measure, by the name that the metrics
	// have for them, for example "application".
	Pools map[string]*sql.DB
}

// Install adds to the plugin's configuration, before [reliable.New]: the
// writer's trace context to Headers, a span and a measurement around every
// attempt to Registry, and subscribers to Monitor, which it makes if there is
// none. Middleware that is added to the registry later runs inside the span. A
// program that only writes needs it for the headers.
//
// stop ends the subscriptions and the observation of gauges. Call it after the
// worker has ended and the providers are shut down: their last export would
// lack the gauges. It is not nil.
func (t Telemetry) Install(config *reliable.Config) (stop func() error, err error) {
	nothing := func() error { return nil }
	var mistakes []error
	if config == nil {
		return nothing, errors.New("reliableotel: Install: config is nil: pass the reliable.Config of the plugin")
	}
	if config.Registry == nil {
		mistakes = append(mistakes, errors.New("reliableotel: Config.Registry is nil: set it before Install"))
	}
	for name, pool := range t.Pools {
		if pool == nil {
			mistakes = append(mistakes, fmt.Errorf("reliableotel: Pools[%q] is nil: pass the *sql.DB, or leave it out", name))
		}
	}
	if err := errors.Join(mistakes...); err != nil {
		return nothing, err
	}
	tracers, meters, propagator := t.TracerProvider, t.MeterProvider, t.Propagator
	if tracers == nil {
		tracers = otel.GetTracerProvider()
	}
	if meters == nil {
		meters = otel.GetMeterProvider()
	}
	if propagator == nil {
		propagator = propagation.TraceContext{}
	}
	config.Monitor = cmp.Or(config.Monitor, new(reliable.Monitor))
	meter := meters.Meter(Scope, metric.WithSchemaURL(semconv.SchemaURL))
	instruments, err := newInstruments(meter)
	if err != nil {
		return nothing, fmt.Errorf("reliableotel: %w", err)
	}
	state := newState(config.Monitor, t.Pools)
	unobserve, err := state.observe(meter)
	if err != nil {
		return nothing, fmt.Errorf("reliableotel: %w", err)
	}
	c := carrier{propagator}
	tracing := tracing{tracer: tracers.Tracer(Scope, trace.WithSchemaURL(semconv.SchemaURL)), carrier: c, child: t.Child, took: instruments.callbackDuration}
	config.Headers = c.headers(config.Headers)
	config.Registry.Use(tracing.surround)
	// The states have a queue of their own: an instrument that blocks keeps
	// counters from counting, not gauges from being right.
	unsubscribe := []func(){config.Monitor.Subscribe(state.note), config.Monitor.Subscribe(instruments.count)}
	return func() error {
		for _, cancel := range unsubscribe {
			cancel()
		}
		return unobserve()
	}, nil
}
