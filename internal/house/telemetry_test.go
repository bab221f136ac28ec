package house

import (
	"strings"
	"testing"
)

// Who measures with OpenTelemetry links its API; the SDK and the exporters are
// the program's choice.
func TestTelemetryIsTheAPI(t *testing.T) {
	for _, path := range dependencies(t, "contrib/reliableotel") {
		for _, part := range []string{"go.opentelemetry.io/otel/sdk", "go.opentelemetry.io/otel/exporters", "github.com/prometheus/"} {
			if strings.HasPrefix(path, part) {
				t.Errorf("contrib/reliableotel links %s", path)
			}
		}
	}
}
