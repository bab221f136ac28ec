package reliable

import (
	"math"
	"math/rand/v2"
	"time"
)

// Defaults of a callback's retries: the tries span about four days, so that
// the outage of a weekend kills nothing.
const (
	DefaultMaxAttempts = 25
	DefaultBackoffBase = 5 * time.Second
	DefaultBackoffCap  = 24 * time.Hour
	DefaultTimeout     = time.Minute
)

// Backoff says how long a callback waits after its attempt-th failure (from 1).
type Backoff func(attempt int) time.Duration

// Exponential returns a Backoff that waits a random time up to
// base·2^(attempt-1), and never more than limit. The randomness (full jitter)
// keeps entries that failed together from coming back together.
func Exponential(base, limit time.Duration) Backoff {
	return func(attempt int) time.Duration {
		ceiling := exponential(base, limit, attempt)
		if ceiling <= 0 {
			return 0
		}
		if ceiling == math.MaxInt64 {
			return time.Duration(rand.Int64())
		}
		return time.Duration(rand.Int64N(int64(ceiling) + 1))
	}
}

// exponential is min(limit, base·2^(attempt-1)), saturating.
func exponential(base, limit time.Duration, attempt int) time.Duration {
	if base <= 0 || limit <= 0 {
		return 0
	}
	shift := max(attempt-1, 0)
	if shift >= 63 || base > limit>>shift {
		return limit
	}
	return base << shift
}
