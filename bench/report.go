package main

import (
	"fmt"
	"slices"
)

// report prints the median of the ratios, the range, and the result.
func report(ratios []float64) {
	slices.Sort(ratios)
	median := ratios[len(ratios)/2]
	if len(ratios)%2 == 0 {
		median = (median + ratios[len(ratios)/2-1]) / 2
	}
	fmt.Printf("\nratio: median %.2f, from %.2f to %.2f in %d rounds\n", median, ratios[0], ratios[len(ratios)-1], len(ratios))
	fmt.Printf("bench: non_ordered x_river=%.2f\n", median)
}
