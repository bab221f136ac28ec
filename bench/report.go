package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// median returns the median, the least and the greatest of the values.
func median(values []float64) (m, lo, hi float64) {
	values = slices.Sorted(slices.Values(values))
	n := len(values)
	return (values[n/2] + values[(n-1)/2]) / 2, values[0], values[n-1]
}

// title says what runs now.
func title(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	fmt.Printf("\n%s\n%s\n", text, strings.Repeat("-", min(len(text), 120)))
}

// lap prints how long f took as a whole, with what is prepared and checked.
func lap(begun time.Time) string { return fmt.Sprintf("[%.0f s]", time.Since(begun).Seconds()) }
