package reliableotel_test

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	collectormetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// collector is an OTLP endpoint that keeps what it gets.
type collector struct {
	mu      sync.Mutex
	bytes   []byte // of all bodies, and of their headers
	spans   []*tracepb.Span
	metrics map[string]*metricspb.Metric // the last of each name
	broken  error
}

// collect starts a collector, to which exporters lead that are made from now on.
func collect(t *testing.T) *collector {
	t.Helper()
	c := &collector{metrics: make(map[string]*metricspb.Metric)}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	t.Setenv("OTEL_SERVICE_NAME", "shop")
	return c
}

// ServeHTTP implements [http.Handler].
func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		var err error
		if body, err = gzip.NewReader(r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	data, err := io.ReadAll(body)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bytes = append(c.bytes, data...)
	switch r.URL.Path {
	case "/v1/traces":
		var request collectortrace.ExportTraceServiceRequest
		err = errors.Join(err, proto.Unmarshal(data, &request))
		for _, resource := range request.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				c.spans = append(c.spans, scope.Spans...)
			}
		}
	case "/v1/metrics":
		var request collectormetrics.ExportMetricsServiceRequest
		err = errors.Join(err, proto.Unmarshal(data, &request))
		for _, resource := range request.ResourceMetrics {
			for _, scope := range resource.ScopeMetrics {
				for _, m := range scope.Metrics {
					c.metrics[m.Name] = m
				}
			}
		}
	default:
		err = errors.New("unknown path " + r.URL.Path)
	}
	c.broken = errors.Join(c.broken, err)
}

// named returns the spans of a name, in the order of their beginning.
func (c *collector) named(name string) []*tracepb.Span {
	var spans []*tracepb.Span
	for _, s := range c.spans {
		if s.Name == name {
			spans = append(spans, s)
		}
	}
	slices.SortFunc(spans, func(a, b *tracepb.Span) int { return int(int64(a.StartTimeUnixNano) - int64(b.StartTimeUnixNano)) })
	return spans
}

// providers are those that a program makes of the environment.
type providers struct {
	traces  *sdktrace.TracerProvider
	metrics *sdkmetric.MeterProvider
}

func newProviders(t *testing.T) providers {
	t.Helper()
	traces, err := otlptracehttp.New(t.Context())
	metrics, merr := otlpmetrichttp.New(t.Context())
	if err := errors.Join(err, merr); err != nil {
		t.Fatal(err)
	}
	p := providers{
		sdktrace.NewTracerProvider(sdktrace.WithBatcher(traces)),
		sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewPeriodicReader(metrics))),
	}
	t.Cleanup(func() { _ = p.shutdown(context.Background()) })
	return p
}

func (p providers) shutdown(ctx context.Context) error {
	return errors.Join(p.traces.Shutdown(ctx), p.metrics.Shutdown(ctx))
}

// attribute returns an attribute as text; empty if it is not there.
func attribute(attributes []*commonpb.KeyValue, key string) string {
	for _, a := range attributes {
		if a.Key == key {
			switch v := a.Value.Value.(type) {
			case *commonpb.AnyValue_StringValue:
				return v.StringValue
			default:
				return a.Value.String()
			}
		}
	}
	return ""
}
