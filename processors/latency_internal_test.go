package processors

import (
	"math"
	"testing"
	"time"
)

// What the databases' arithmetic makes of a number of microseconds is that
// number again.
func TestDuration(t *testing.T) {
	for seconds, want := range map[float64]time.Duration{
		-1: 0, 0: 0, 0.002946: 2946 * time.Microsecond, 0.0029459999: 2946 * time.Microsecond, 0.0029460001: 2946 * time.Microsecond, 3600.5: time.Hour + 500*time.Millisecond, 2e11: longest, math.Inf(1): longest, math.Inf(-1): 0,
	} {
		if got := duration(seconds); got != want {
			t.Errorf("duration(%v) = %s, want %s", seconds, got, want)
		}
	}
}
