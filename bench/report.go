package main

import (
	"fmt"
	"slices"
)

// report prints the median of the ratios, the range, and the result.
func report(ratios []float64) {
	m, lo, hi := median(ratios)
	fmt.Printf("\nratio: median %.2f, from %.2f to %.2f in %d rounds\n", m, lo, hi, len(ratios))
	fmt.Printf("bench: non_ordered x_river=%.2f\n", m)
}

// median returns the median, the least and the greatest of the values.
func median(values []float64) (m, lo, hi float64) {
	values = slices.Sorted(slices.Values(values))
	n := len(values)
	return (values[n/2] + values[(n-1)/2]) / 2, values[0], values[n-1]
}
