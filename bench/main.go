// Command bench drains a backlog with River and with ours, by turns, in one run
// on one PostgreSQL, and prints how they compare.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
)

// sides are the settings that are swept: River's MaxWorkers, our Threads.
type sides struct{ river, ours []int }

func main() {
	entries := flag.Int("entries", 100_000, "entries of a backlog")
	rounds := flag.Int("rounds", 5, "rounds of each side")
	flag.Parse()
	if *entries < 1 || *rounds < 1 || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "bench: -entries and -rounds are 1 or more; there are no arguments")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *entries, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run sweeps both sides, then lets ours at its default settings meet River at
// its best.
func run(ctx context.Context, entries, rounds int) error {
	b, err := open(ctx)
	if err != nil {
		return err
	}
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
