package main

import (
	"context"
	"fmt"
)

// sides are the settings that are swept: River's MaxWorkers, our Threads.
type sides struct{ river, ours []int }

// drain sweeps both sides, then lets ours at its default settings meet River at
// its best.
func drain(ctx context.Context, b *bench, entries, rounds int) error {
	swept := sides{river: []int{100, 500, 1000, 2000, 5000}, ours: []int{1, 2, 4, 8, 16}}
	fmt.Printf("%d entries, a callback that does nothing; entries/s\n\n", entries)
	best := 0
	var most float64
	for _, n := range swept.river {
		rate, err := b.river(ctx, entries, n)
		if err != nil {
			return fmt.Errorf("River with MaxWorkers %d: %w", n, err)
		}
		fmt.Printf("sweep   River  MaxWorkers %-5d %8.0f\n", n, rate)
		if rate > most {
			best, most = n, rate
		}
	}
	for _, n := range swept.ours {
		rate, err := b.ours(ctx, entries, n)
		if err != nil {
			return fmt.Errorf("ours with %d threads: %w", n, err)
		}
		fmt.Printf("sweep   ours   Threads %-8d %8.0f\n", n, rate)
	}
	fmt.Printf("\nRiver at MaxWorkers %d, ours at its default of one thread, completion archive\n", best)
	var ratios []float64
	for i := range rounds {
		ours, err := b.ours(ctx, entries, 0)
		if err != nil {
			return fmt.Errorf("ours: %w", err)
		}
		river, err := b.river(ctx, entries, best)
		if err != nil {
			return fmt.Errorf("River: %w", err)
		}
		ratios = append(ratios, ours/river)
		fmt.Printf("round %d   ours %8.0f   River %8.0f   ratio %.2f\n", i+1, ours, river, ours/river)
	}
	report(ratios)
	return nil
}
