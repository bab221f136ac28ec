package reliableotel_test

import (
	"database/sql"
	"errors"
	"os"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/contrib/reliableotel"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

func ExampleTelemetry() {
	run := func(db *gorm.DB, registry *reliable.Registry, traces trace.TracerProvider, metrics metric.MeterProvider, work func() error) error {
		pool, err := db.DB()
		if err != nil {
			return err
		}
		config := reliable.Config{Registry: registry}
		telemetry := reliableotel.Telemetry{
			TracerProvider: traces,  // nil: the global one
			MeterProvider:  metrics, // nil: the global one
			Pools:          map[string]*sql.DB{"application": pool},
		}
		stop, err := telemetry.Install(&config) // before reliable.New
		if err != nil {
			return err
		}
		if err := db.Use(reliable.New(config)); err != nil {
			return err
		}
		return errors.Join(work(), stop())
	}
	_ = run
}

// The page's first code is the example's.
func TestCodeOfPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/opentelemetry.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```go\n")
	code, _, _ := strings.Cut(rest, "```")
	lines := 0
	for line := range strings.Lines(code) {
		lines++
		if !strings.Contains(string(example), strings.TrimSpace(line)) {
			t.Errorf("the page has the line %q, the example has not", line)
		}
	}
	if lines < 10 {
		t.Errorf("the page's code has %d lines: that can't be all", lines)
	}
}
