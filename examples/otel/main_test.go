package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gorm-aftercommit/aftercommit/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The standard variables lead spans to an OTLP endpoint and metrics to a
// scrape.
func TestEnvironment(t *testing.T) {
	got := make(map[string]string)
	var mu sync.Mutex
	endpoint := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		got[r.URL.Path] += r.Header.Get("Token") + string(body)
	}))
	defer endpoint.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "token=of-the-vendor")
	t.Setenv("OTEL_SERVICE_NAME", "shop-4711")
	t.Setenv("DATABASE_URL", "sqlite://"+filepath.ToSlash(filepath.Join(t.TempDir(), "shop.db")))
	t.Setenv("RELIABLE_POLL_INTERVAL", "10ms")
	if code := run([]string{"write"}); code != worker.ExitClean {
		t.Fatalf("write exits %d", code)
	}
	for path, parts := range map[string][]string{
		"/v1/traces":  {"of-the-vendor", "shop-4711", "POST /orders"},
		"/v1/metrics": {"of-the-vendor", "shop-4711", "reliable.pool.connections"},
	} {
		for _, part := range parts {
			if !strings.Contains(got[path], part) {
				t.Errorf("%s did not get %q", path, part)
			}
		}
	}

	host, port := free(t)
	t.Setenv("OTEL_METRICS_EXPORTER", "prometheus")
	t.Setenv("OTEL_EXPORTER_PROMETHEUS_HOST", host)
	t.Setenv("OTEL_EXPORTER_PROMETHEUS_PORT", port)
	exited := make(chan int, 1)
	go func() { exited <- run([]string{"worker"}) }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for want := `reliable_entries_processed_total{reliable_context="gorm",reliable_model="Order"} 10`; !strings.Contains(scrape(t.Context(), net.JoinHostPort(host, port)), want); {
		select {
		case <-tick.C:
		case code := <-exited:
			t.Fatalf("the worker exits %d", code)
		case <-deadline:
			t.Fatalf("no scrape has %s", want)
		}
	}
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := <-exited; code != worker.ExitClean {
		t.Errorf("the worker exits %d", code)
	}
	mu.Lock()
	defer mu.Unlock()
	if n := strings.Count(got["/v1/traces"], "process Order/receipt"); n != 10 {
		t.Errorf("%d runs have spans, want 10", n)
	}
}

// scrape returns nothing as long as nobody answers.
func scrape(ctx context.Context, address string) string {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", http.NoBody)
	if err != nil {
		return ""
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return ""
	}
	defer func() { _ = answer.Body.Close() }()
	body, _ := io.ReadAll(answer.Body)
	return string(body)
}

// free returns an address that nobody listens on.
func free(t *testing.T) (host, port string) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	host, port, err = net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return host, port
}

// Mistakes in the environment are told, all at once; disabled is disabled.
func TestMistakes(t *testing.T) {
	vars := map[string]string{"OTEL_TRACES_EXPORTER": "jaeger", "OTEL_METRICS_EXPORTER": "statsd"}
	_, err := exporters(t.Context(), func(name string) string { return vars[name] })
	for name, value := range vars {
		if err == nil || !strings.Contains(err.Error(), name+` is "`+value+`"`) {
			t.Errorf("exporters() = %v, want %s in it", err, name)
		}
	}
	vars["OTEL_SDK_DISABLED"] = "true"
	if telemetry, err := exporters(t.Context(), func(name string) string { return vars[name] }); err != nil || len(telemetry.shutdowns) > 0 {
		t.Errorf("disabled, exporters() = %v, %v", telemetry, err)
	}
	if code := run([]string{"dance"}); code != worker.ExitConfiguration {
		t.Errorf("run(dance) = %d, want %d", code, worker.ExitConfiguration)
	}
}
