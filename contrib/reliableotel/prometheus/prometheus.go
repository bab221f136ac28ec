// Package prometheus serves metrics of OpenTelemetry to a Prometheus that
// scrapes the process: those of reliableotel, and of whoever else is given its
// MeterProvider.
//
// It stands apart so that package reliableotel links no exporter.
package prometheus

import (
	"context"
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
)

// Exporter is a MeterProvider and the http.Handler that serves what it
// measures, from a registry of its own. Make one with [New].
type Exporter struct {
	provider *sdk.MeterProvider
	handler  http.Handler
}

// New returns an Exporter. Its target_info is what OTEL_SERVICE_NAME and
// OTEL_RESOURCE_ATTRIBUTES say. A counter reliable.entries.processed is served
// as reliable_entries_processed_total, a histogram reliable.callback.duration
// of seconds as reliable_callback_duration_seconds, an attribute error.type as
// error_type; histograms have exemplars where a span was sampled.
func New() (*Exporter, error) {
	registry := prometheus.NewRegistry()
	reader, err := exporter.New(
		exporter.WithRegisterer(registry),
		exporter.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes),
		exporter.WithoutScopeInfo(),
	)
	if err != nil {
		return nil, fmt.Errorf("reliableotel/prometheus: %w", err)
	}
	return &Exporter{
		provider: sdk.NewMeterProvider(sdk.WithReader(reader), sdk.WithResource(resource.Default())),
		// One metric that can't be served keeps the others from nobody.
		handler: promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, EnableOpenMetrics: true}),
	}, nil
}

// MeterProvider is what to give to reliableotel.Telemetry, and to anything else
// that measures.
func (e *Exporter) MeterProvider() metric.MeterProvider { return e.provider }

// ServeHTTP implements [http.Handler]: it answers a scrape.
func (e *Exporter) ServeHTTP(w http.ResponseWriter, r *http.Request) { e.handler.ServeHTTP(w, r) }

// Shutdown ends the measuring; scrapes get nothing from then on.
func (e *Exporter) Shutdown(ctx context.Context) error { return e.provider.Shutdown(ctx) }
