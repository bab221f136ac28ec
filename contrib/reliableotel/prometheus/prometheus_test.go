package prometheus_test

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/goleak"

	"github.com/gorm-aftercommit/aftercommit/contrib/reliableotel"
	"github.com/gorm-aftercommit/aftercommit/contrib/reliableotel/prometheus"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Order owes callbacks.
type Order struct {
	ID   uint
	Note string
}

// canary is in everything that must not get out.
const canary = "canary-4711"

// A scrape has the worker's metrics, by names and labels that Prometheus is
// used to, and no secret (76).
func TestScrape(t *testing.T) {
	t.Setenv("OTEL_SERVICE_NAME", "shop")
	exporter, err := prometheus.New()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(exporter)
	defer server.Close()

	r := new(reliable.Registry)
	done := make(chan struct{}, 3)
	reliable.AfterCreateCommit(r, "index", func(context.Context, reliable.Change[Order]) error {
		done <- struct{}{}
		return nil
	})
	reliable.AfterCreateCommit(r, "mail", func(context.Context, reliable.Change[Order]) error {
		return reliable.Permanent(errors.New("post to https://u:" + canary + "@host"))
	})
	config := reliable.Config{Registry: r, Headers: func(context.Context) map[string]string { return map[string]string{"tenant": canary} }}
	db := testdb.New(t, testdb.SQLite).Open(t)
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	stop, err := reliableotel.Telemetry{
		TracerProvider: sdktrace.NewTracerProvider(), MeterProvider: exporter.MeterProvider(), Pools: map[string]*sql.DB{"application": pool},
	}.Install(&config)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.AutoMigrate(&Order{}), db.Use(reliable.New(config)), migrations.Up(t.Context(), db)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- (&worker.Worker{DB: db, PollInterval: 10 * time.Millisecond}).Run(ctx) }()
	if err := db.Create([]Order{{Note: canary}, {Note: canary}, {Note: canary}}).Error; err != nil {
		t.Fatal(err)
	}
	for range 3 {
		<-done
	}
	config.Monitor.Publish(&reliable.LatencyMeasured{Worker: "w", Oldest: 90 * time.Second})
	config.Monitor.Publish(&reliable.OutboxMeasured{Worker: "w", OldestParked: time.Minute, Dead: reliable.Gauge{N: 3}})
	config.Monitor.Publish(&reliable.ErrorOccurred{Step: "claim", Err: errors.New("dial postgres://u:" + canary + "@host/db")})
	cancel()
	if err := errors.Join(<-ran, config.Monitor.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}

	families := scrape(t, server.URL, "")
	for name, want := range map[string]string{
		"reliable_callback_duration_seconds":                   "HISTOGRAM reliable_callback,reliable_context,reliable_model,reliable_verdict",
		"reliable_callback_failures_total":                     "COUNTER error_type,reliable_callback,reliable_context,reliable_model",
		"reliable_entries_died_total":                          "COUNTER error_type,reliable_context,reliable_model",
		"reliable_batch_size":                                  "HISTOGRAM ",
		"reliable_claim_duration_seconds":                      "HISTOGRAM ",
		"reliable_heartbeat_duration_seconds":                  "HISTOGRAM ",
		"reliable_worker_errors_total":                         "COUNTER error_type,reliable_step",
		"reliable_latency_highest_since_creation_date_seconds": "GAUGE ",
		"reliable_outbox_age_parked_seconds":                   "GAUGE ",
		"reliable_outbox_dead":                                 "GAUGE ",
		"reliable_backlog":                                     "GAUGE ",
		"reliable_process_workers":                             "GAUGE ",
		"reliable_pool_connections":                            "GAUGE reliable_pool,reliable_state",
		"reliable_pool_wait_duration_seconds_total":            "COUNTER reliable_pool",
		"reliable_monitor_events_dropped_total":                "COUNTER ",
		"target_info":                                          "GAUGE service_name,telemetry_sdk_language,telemetry_sdk_name,telemetry_sdk_version",
	} {
		family := families[name]
		if family == nil {
			t.Errorf("%s is missing; there are %s", name, slices.Sorted(maps.Keys(families)))
			continue
		}
		if got := family.GetType().String() + " " + labels(family); got != want || family.GetHelp() == "" {
			t.Errorf("%s is %q (%s), want %q", name, got, family.GetHelp(), want)
		}
	}
	if v := families["reliable_latency_highest_since_creation_date_seconds"].GetMetric()[0].GetGauge().GetValue(); v != 90 {
		t.Errorf("the oldest entry is %v s old, want 90", v)
	}
	if v := families["reliable_callback_failures_total"].GetMetric()[0].GetCounter().GetValue(); v != 3 {
		t.Errorf("%v failures, want 3", v)
	}
	// With OpenMetrics, a histogram leads to a trace.
	scrape(t, server.URL, "application/openmetrics-text; version=1.0.0", `reliable_callback_duration_seconds_bucket{`, `trace_id="`)
	if err := errors.Join(stop(), exporter.Shutdown(t.Context())); err != nil {
		t.Fatal(err)
	}
	if families := scrape(t, server.URL, ""); families["reliable_callback_failures_total"] != nil {
		t.Error("after Shutdown, a scrape has metrics")
	}
}

// scrape asks for the metrics, and parses them if they come as text. All that
// comes has these parts and not the canary.
func scrape(t *testing.T, url, accept string, parts ...string) map[string]*dto.MetricFamily {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", accept)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("scrape: %s, %v: %s", answer.Status, err, body)
	}
	text := string(body)
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("a scrape lacks %s:\n%s", part, text)
		}
	}
	if strings.Contains(text, canary) {
		t.Error("a secret got out")
	}
	if accept != "" {
		return nil
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// labels returns the names of a family's labels.
func labels(family *dto.MetricFamily) string {
	names := make(map[string]bool)
	for _, m := range family.GetMetric() {
		for _, l := range m.GetLabel() {
			names[l.GetName()] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(names)), ",")
}
