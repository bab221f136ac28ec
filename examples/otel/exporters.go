package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/metric"
	nometrics "go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	notraces "go.opentelemetry.io/otel/trace/noop"

	"github.com/gorm-aftercommit/aftercommit/contrib/reliableotel/prometheus"
)

// telemetry is what the program measures and traces with.
type telemetry struct {
	traces    trace.TracerProvider
	metrics   metric.MeterProvider
	shutdowns []func(context.Context) error
}

// exporters makes what the environment asks for. The variables are the
// standard ones:
//
//	OTEL_SDK_DISABLED        true: nothing is exported
//	OTEL_TRACES_EXPORTER     otlp (default) or none
//	OTEL_METRICS_EXPORTER    otlp (default), prometheus or none
//	OTEL_EXPORTER_PROMETHEUS_HOST, _PORT   where to serve /metrics: localhost, 9464
//
// and those that the SDK and its exporters read themselves:
// OTEL_EXPORTER_OTLP_ENDPOINT, _HEADERS, _TIMEOUT, _CERTIFICATE, ...,
// OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER, OTEL_BSP_*
// and OTEL_METRIC_EXPORT_INTERVAL.
func exporters(ctx context.Context, env func(string) string) (*telemetry, error) {
	t := &telemetry{traces: notraces.NewTracerProvider(), metrics: nometrics.NewMeterProvider()}
	if env("OTEL_SDK_DISABLED") == "true" {
		return t, nil
	}
	err := errors.Join(
		t.trace(ctx, cmp.Or(env("OTEL_TRACES_EXPORTER"), "otlp")),
		t.measure(ctx, cmp.Or(env("OTEL_METRICS_EXPORTER"), "otlp"),
			net.JoinHostPort(cmp.Or(env("OTEL_EXPORTER_PROMETHEUS_HOST"), "localhost"), cmp.Or(env("OTEL_EXPORTER_PROMETHEUS_PORT"), "9464"))),
	)
	if err != nil {
		return nil, errors.Join(err, t.shutdown(ctx))
	}
	return t, nil
}

func (t *telemetry) trace(ctx context.Context, exporter string) error {
	switch exporter {
	case "otlp":
		otlp, err := otlptracehttp.New(ctx)
		if err != nil {
			return fmt.Errorf("OTEL_TRACES_EXPORTER=otlp: %w", err)
		}
		provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(otlp))
		t.traces, t.shutdowns = provider, append(t.shutdowns, provider.Shutdown)
	case "none":
	default:
		return fmt.Errorf("OTEL_TRACES_EXPORTER is %q: want otlp or none", exporter)
	}
	return nil
}

func (t *telemetry) measure(ctx context.Context, exporter, address string) error {
	switch exporter {
	case "otlp":
		otlp, err := otlpmetrichttp.New(ctx)
		if err != nil {
			return fmt.Errorf("OTEL_METRICS_EXPORTER=otlp: %w", err)
		}
		provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewPeriodicReader(otlp)))
		t.metrics, t.shutdowns = provider, append(t.shutdowns, provider.Shutdown)
	case "prometheus":
		return t.serve(ctx, address)
	case "none":
	default:
		return fmt.Errorf("OTEL_METRICS_EXPORTER is %q: want otlp, prometheus or none", exporter)
	}
	return nil
}

// serve answers scrapes.
func (t *telemetry) serve(ctx context.Context, address string) error {
	exporter, err := prometheus.New()
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("OTEL_EXPORTER_PROMETHEUS_PORT: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", exporter)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.metrics = exporter.MeterProvider()
	t.shutdowns = append(t.shutdowns, func(ctx context.Context) error {
		err := errors.Join(server.Shutdown(ctx), exporter.Shutdown(ctx))
		if end := <-served; !errors.Is(end, http.ErrServerClosed) {
			err = errors.Join(err, end)
		}
		return err
	})
	return nil
}

// shutdown exports what is left.
func (t *telemetry) shutdown(ctx context.Context) error {
	errs := make([]error, 0, len(t.shutdowns))
	for _, shutdown := range t.shutdowns {
		errs = append(errs, shutdown(ctx))
	}
	return errors.Join(errs...)
}
