package reliableotel_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/contrib/reliableotel"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

func TestInstallMistakes(t *testing.T) {
	if _, err := (reliableotel.Telemetry{}).Install(nil); err == nil || !strings.Contains(err.Error(), "config is nil") {
		t.Errorf("Install(nil) = %v", err)
	}
	stop, err := reliableotel.Telemetry{Pools: map[string]*sql.DB{"application": nil}}.Install(new(reliable.Config))
	for _, want := range []string{"Config.Registry is nil", `Pools["application"] is nil`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Install() = %v, want %q in it", err, want)
		}
	}
	if err := stop(); err != nil {
		t.Errorf("stop() = %v", err)
	}
}

// With Child, a run is part of the change's trace; and a propagator of baggage
// brings the writer's to the callback.
func TestChildAndBaggage(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	propagator := propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	got := make(chan string, 1)
	db := open(t, func(*gorm.DB) reliable.Config {
		r := new(reliable.Registry)
		reliable.AfterCreateCommit(r, "index", func(ctx context.Context, _ reliable.Change[Order]) error {
			carrier := propagation.MapCarrier{}
			propagation.Baggage{}.Inject(ctx, carrier)
			got <- carrier["baggage"]
			return nil
		})
		config := reliable.Config{Registry: r}
		stop, err := reliableotel.Telemetry{TracerProvider: provider, Propagator: propagator, Child: true}.Install(&config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = stop() })
		return config
	})
	ctx := propagation.Baggage{}.Extract(t.Context(), propagation.MapCarrier{"baggage": "tenant=t7"})
	ctx, span := provider.Tracer("shop").Start(ctx, "POST /orders")
	if err := db.WithContext(ctx).Create(&Order{}).Error; err != nil {
		t.Fatal(err)
	}
	span.End()
	stop := start(t, db)
	drained(t, db)
	stop()
	if baggage := <-got; baggage != "tenant=t7" {
		t.Errorf("the callback's baggage is %q, want the writer's", baggage)
	}
	run := recorder.Ended()[1]
	if run.Parent().SpanID() != span.SpanContext().SpanID() || run.SpanContext().TraceID() != span.SpanContext().TraceID() || len(run.Links()) > 0 {
		t.Errorf("span %s of trace %s has parent %s and links %v, want a child of the writer's", run.Name(), run.SpanContext().TraceID(), run.Parent().SpanID(), run.Links())
	}
}

// A batch has one link to each trace that led to it; headers without a trace
// lead nowhere, also not to a span that the worker's own program has.
func TestLinks(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	var errs []error
	db := open(t, func(*gorm.DB) reliable.Config {
		r := new(reliable.Registry)
		r.HandleBatch("mail", "send", 0, reliable.BatchProcessorFunc(func(_ context.Context, entries []*reliable.OutboxEntry) []error {
			return make([]error, len(entries))
		}))
		r.Handle("job", "run", reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error { return nil }))
		r.Use(func(ctx context.Context, _ reliable.Attempt, next func(context.Context) error) error {
			return next(trace.ContextWithSpanContext(ctx, spanContext(9)))
		})
		config := reliable.Config{Registry: r}
		stop, err := reliableotel.Telemetry{TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))}.Install(&config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = stop() })
		return config
	})
	for _, id := range []byte{0, 1, 2, 1} {
		sc := spanContext(id)
		errs = append(errs, db.Transaction(func(tx *gorm.DB) error {
			_, err := reliable.Record(trace.ContextWithSpanContext(t.Context(), sc), tx, reliable.Entry{Context: "mail", EventName: "sent", Headers: map[string]string{"tracestate": "!"}})
			return err
		}))
	}
	errs = append(errs, db.Transaction(func(tx *gorm.DB) error {
		_, err := reliable.Record(t.Context(), tx, reliable.Entry{Context: "job", EventName: "due", Headers: map[string]string{"tenant": "t7"}})
		return err
	}))
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	stop := start(t, db)
	drained(t, db)
	stop()
	var links []string
	for _, span := range recorder.Ended() {
		for _, link := range span.Links() {
			links = append(links, link.SpanContext.SpanID().String()[:2])
		}
	}
	if got := strings.Join(links, " "); got != "01 02" {
		t.Errorf("links to %s, want 01 02", got)
	}
}

// spanContext returns one; of 0, one that is none.
func spanContext(id byte) trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{id}, SpanID: trace.SpanID{id}})
}

// Gauges show what is so now: not what a worker measured that is gone, or does
// not measure any more.
func TestGauges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader := sdkmetric.NewManualReader()
		monitor := new(reliable.Monitor)
		stop, err := reliableotel.Telemetry{MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))}.
			Install(&reliable.Config{Registry: new(reliable.Registry), Monitor: monitor})
		if err != nil {
			t.Fatal(err)
		}
		latency := &reliable.LatencyMeasured{Worker: "a", Oldest: time.Second}
		for _, step := range []struct {
			what  string
			event reliable.Event
			wait  time.Duration
			want  string // workers, threads, unwoken, open, highest, dead rows
		}{
			{"nothing", nil, 0, "0 0 0 - - -"},
			{"start", &reliable.Started{Worker: "a", Threads: 3}, 0, "1 3 0 - - -"},
			{"another", &reliable.Started{Worker: "b", Threads: 4}, 0, "2 7 0 - - -"},
			{"degraded", &reliable.WakeupDegraded{Worker: "b"}, 0, "2 7 1 - - -"},
			{"restored", &reliable.WakeupRestored{Worker: "b"}, 0, "2 7 0 - - -"},
			{"degraded again", &reliable.WakeupDegraded{Worker: "b"}, 0, "2 7 1 - - -"},
			{"measured", latency, 4 * time.Minute, "2 7 1 - 1 -"},
			{"outbox", &reliable.OutboxMeasured{Worker: "a", DeadRows: 5}, 2 * time.Minute, "2 7 1 - - 5"},
			{"measured again", latency, 0, "2 7 1 - 1 5"},
			{"tripped", &reliable.BreakerOpened{Context: "gorm", ResourceClass: "Order", Callback: "index"}, 0, "2 7 1 1 1 5"},
			{"closed", &reliable.BreakerClosed{Context: "gorm", ResourceClass: "Order", Callback: "index"}, 0, "2 7 1 0 1 5"},
			{"stopped", &reliable.Stopped{Worker: "a"}, 0, "1 4 1 0 - -"},
			{"all stopped", &reliable.Stopped{Worker: "b"}, 0, "0 0 0 0 - -"},
		} {
			if step.event != nil {
				monitor.Publish(step.event)
			}
			synctest.Wait()
			time.Sleep(step.wait) //nolint:forbidigo // virtual time
			values := read(t, reader)
			var got []string
			for _, name := range []string{"reliable.process.workers", "reliable.process.threads", "reliable.process.unwoken", "reliable.breaker.open", "reliable.latency.highest_since_creation_date", "reliable.outbox.dead_rows"} {
				value, ok := values[name]
				if !ok {
					value = "-"
				}
				got = append(got, value)
			}
			if got := strings.Join(got, " "); got != step.want {
				t.Errorf("after %s, gauges are %s, want %s", step.what, got, step.want)
			}
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if values := read(t, reader); len(values) != 1 || values["reliable.breaker.trips"] != "1" {
			t.Errorf("after stop, values are %v, want the counter of the one trip", values)
		}
	})
}

// Events that were dropped are counted also once the slow subscriber is gone.
func TestDroppedEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader := sdkmetric.NewManualReader()
		monitor := new(reliable.Monitor)
		stop, err := reliableotel.Telemetry{MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))}.
			Install(&reliable.Config{Registry: new(reliable.Registry), Monitor: monitor})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = stop() }()
		for _, want := range []string{"10", "20"} {
			block := make(chan struct{})
			cancel := monitor.Subscribe(func(reliable.Event) { <-block })
			monitor.Publish(&reliable.HeartbeatSent{})
			for range 4096 + 10 {
				synctest.Wait() // the others keep up
				monitor.Publish(&reliable.HeartbeatSent{})
			}
			if got := read(t, reader)["reliable.monitor.events.dropped"]; got != want {
				t.Errorf("%s events are dropped, want %s", got, want)
			}
			cancel()
			close(block)
			if got := read(t, reader)["reliable.monitor.events.dropped"]; got != want {
				t.Errorf("%s events are dropped once the subscriber is gone, want %s", got, want)
			}
		}
	})
}

// read returns the values of all gauges and sums by name.
func read(t *testing.T, reader *sdkmetric.ManualReader) map[string]string {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &all); err != nil {
		t.Fatal(err)
	}
	values := make(map[string]string)
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Gauge[int64]:
				for _, p := range data.DataPoints {
					values[m.Name] = fmt.Sprint(p.Value)
				}
			case metricdata.Gauge[float64]:
				for _, p := range data.DataPoints {
					values[m.Name] = fmt.Sprint(p.Value)
				}
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					values[m.Name] = fmt.Sprint(p.Value)
				}
			}
		}
	}
	return values
}
