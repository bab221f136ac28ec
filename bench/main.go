// Command bench measures side by side, by turns, in one run on one PostgreSQL:
//
//	drain      River and ours drain a backlog
//	write      GORM writes without the plugin and with it
//	deadlocks  transactions that deadlock: plain, with a locking SELECT before each write, and with the plugin
//
// Without an argument it does the first two.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
)

func main() {
	entries := flag.Int("entries", 100_000, "drain: entries of a backlog")
	rounds := flag.Int("rounds", 0, "rounds of each side (default: drain 5, write 20, deadlocks 10)")
	flag.Parse()
	names := flag.Args()
	if len(names) == 0 {
		names = []string{"drain", "write"}
	}
	commands := map[string]func(context.Context, *bench) error{
		"drain":     func(ctx context.Context, b *bench) error { return drain(ctx, b, *entries, or(*rounds, 5)) },
		"write":     func(ctx context.Context, b *bench) error { return write(ctx, b, or(*rounds, 20)) },
		"deadlocks": func(ctx context.Context, b *bench) error { return deadlocks(ctx, b, or(*rounds, 10)) },
	}
	for _, name := range names {
		if commands[name] == nil || *entries < 1 || *rounds < 0 {
			fmt.Fprintln(os.Stderr, "bench: want drain, write or deadlocks, -entries of 1 or more, -rounds of 0 or more")
			os.Exit(2)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	b, err := open(ctx)
	for _, name := range names {
		if err == nil {
			err = commands[name](ctx, b)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func or(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}
