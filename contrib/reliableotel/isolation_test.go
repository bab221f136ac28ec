package reliableotel_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric"
	nometrics "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	notraces "go.opentelemetry.io/otel/trace/noop"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/contrib/reliableotel"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// badTracer panics at each span.
type badTracer struct{ notraces.Tracer }

// Start implements [trace.Tracer].
func (badTracer) Start(context.Context, string, ...trace.SpanStartOption) (context.Context, trace.Span) {
	panic("start")
}

// badTraces makes such tracers.
type badTraces struct{ notraces.TracerProvider }

// Tracer implements [trace.TracerProvider].
func (badTraces) Tracer(string, ...trace.TracerOption) trace.Tracer { return badTracer{} }

// badPropagator panics.
type badPropagator struct{}

// Fields implements [propagation.TextMapPropagator].
func (badPropagator) Fields() []string { return nil }

// Inject implements [propagation.TextMapPropagator].
func (badPropagator) Inject(context.Context, propagation.TextMapCarrier) { panic("inject") }

// Extract implements [propagation.TextMapPropagator].
func (badPropagator) Extract(context.Context, propagation.TextMapCarrier) context.Context {
	panic("extract")
}

// badEnd is a span processor that panics.
type badEnd struct{ sdktrace.SpanProcessor }

// OnStart implements [sdktrace.SpanProcessor].
func (badEnd) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd implements [sdktrace.SpanProcessor].
func (badEnd) OnEnd(sdktrace.ReadOnlySpan) { panic("end") }

// badMeter makes counters that call do, and histograms that panic.
type badMeter struct {
	nometrics.Meter
	do func()
}

// Int64Counter implements [metric.Meter].
func (m badMeter) Int64Counter(string, ...metric.Int64CounterOption) (metric.Int64Counter, error) {
	return badCounter{do: m.do}, nil
}

// Float64Histogram implements [metric.Meter].
func (m badMeter) Float64Histogram(string, ...metric.Float64HistogramOption) (metric.Float64Histogram, error) {
	return badHistogram{}, nil
}

// badMeters makes such meters.
type badMeters struct {
	nometrics.MeterProvider
	do func()
}

// Meter implements [metric.MeterProvider].
func (m badMeters) Meter(string, ...metric.MeterOption) metric.Meter { return badMeter{do: m.do} }

type badCounter struct {
	nometrics.Int64Counter
	do func()
}

// Add implements [metric.Int64Counter].
func (c badCounter) Add(context.Context, int64, ...metric.AddOption) { c.do() }

type badHistogram struct{ nometrics.Float64Histogram }

// Record implements [metric.Float64Histogram].
func (badHistogram) Record(context.Context, float64, ...metric.RecordOption) { panic("record") }

// Whatever OpenTelemetry does, writes and callbacks go on.
func TestIsolation(t *testing.T) {
	hang := make(chan struct{})
	called := make(chan struct{}, 1)
	endpoint := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		select {
		case called <- struct{}{}:
		default:
		}
		<-hang
	}))
	defer endpoint.Close()
	defer close(hang)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.URL)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
	t.Setenv("OTEL_METRIC_EXPORT_INTERVAL", "1")
	hanging := newProviders(t)
	for _, tt := range []struct {
		name string
		of   reliableotel.Telemetry
	}{
		{"a tracer and a propagator that panic", reliableotel.Telemetry{TracerProvider: badTraces{}, Propagator: badPropagator{}, MeterProvider: nometrics.NewMeterProvider()}},
		{"a span processor that panics", reliableotel.Telemetry{TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(badEnd{})), MeterProvider: nometrics.NewMeterProvider()}},
		{"instruments that panic", reliableotel.Telemetry{MeterProvider: badMeters{do: func() { panic("add") }}}},
		{"instruments that hang", reliableotel.Telemetry{MeterProvider: badMeters{do: func() { <-hang }}}},
		{"an endpoint that hangs", reliableotel.Telemetry{TracerProvider: hanging.traces, MeterProvider: hanging.metrics}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.of.TracerProvider == hanging.traces {
				defer func() { <-called }()
			}
			failed := make(chan error, 1)
			db := open(t, func(*gorm.DB) reliable.Config {
				r := new(reliable.Registry)
				reliable.AfterCommit(r, reliable.Callback[Order]{Name: "index", MaxAttempts: 1, Run: func(context.Context, reliable.Change[Order]) error { return nil }})
				config := reliable.Config{Registry: r, Monitor: new(reliable.Monitor)}
				reliable.Subscribe(config.Monitor, func(e *reliable.EntryFailed) {
					select {
					case failed <- e.Err:
					default:
					}
				})
				stop, err := tt.of.Install(&config)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = stop() })
				return config
			})
			ctx := trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}}))
			if err := db.WithContext(ctx).Create(make([]Order, 20)).Error; err != nil {
				t.Fatal(err)
			}
			stop := start(t, db)
			drained(t, db)
			stop()
			select {
			case err := <-failed:
				t.Errorf("a callback failed: %v", err)
			default:
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond) // what it holds is lost
	defer cancel()
	_ = hanging.shutdown(ctx)
}

// hangingMeters are a provider's, but for counters that hang.
type hangingMeters struct {
	metric.MeterProvider
	hang func()
}

// Meter implements [metric.MeterProvider].
func (m hangingMeters) Meter(name string, options ...metric.MeterOption) metric.Meter {
	return hangingMeter{m.MeterProvider.Meter(name, options...), m.hang}
}

type hangingMeter struct {
	metric.Meter
	hang func()
}

// Int64Counter implements [metric.Meter].
func (m hangingMeter) Int64Counter(string, ...metric.Int64CounterOption) (metric.Int64Counter, error) {
	return badCounter{do: m.hang}, nil
}

// A counter that hangs keeps no gauge from showing what is so.
func TestGaugesBesideHangingCounter(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	hang := make(chan struct{})
	defer close(hang)
	monitor := new(reliable.Monitor)
	meters := hangingMeters{sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)), func() { <-hang }}
	stop, err := reliableotel.Telemetry{MeterProvider: meters}.Install(&reliable.Config{Registry: new(reliable.Registry), Monitor: monitor})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stop() }()
	monitor.Publish(&reliable.LeaseLost{Entries: 1})
	monitor.Publish(&reliable.Started{Worker: "a", Threads: 3})
	eventually(t, "the worker is seen", func() bool { return read(t, reader)["reliable.process.threads"] == "3" })
}
