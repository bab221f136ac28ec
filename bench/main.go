// Command bench measures side by side, by turns, in one run on one PostgreSQL:
//
//	drain      River, ours and the raw floor drain a backlog
//	write      GORM writes without the plugin and with it
//	deadlocks  transactions that deadlock: plain, with a locking SELECT before each write, and with the plugin
//
// Without an argument it does all but the last.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are what the command line says.
type options struct {
	entries int // of what is drained
	backlog int // of what waits behind it
	rounds  int // 0: as many as the benchmark takes
}

// benchmark measures something, prints what it sees, and returns the result
// as a line of names and numbers.
type benchmark struct {
	name string
	run  func(ctx context.Context, b *bench, o options) (string, error)
}

func benchmarks() []benchmark {
	return []benchmark{{"drain", drain}, {"workers", workers}, {"hold", hold}, {"memory", memory}, {"write", write}, {"deadlocks", deadlocks}}
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == programName {
		p, err := parseProgram(os.Args[2])
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(2)
		}
		os.Exit(p.main(os.Stdin, os.Stdout))
	}
	var o options
	flag.IntVar(&o.entries, "entries", 400_000, "entries of a backlog")
	flag.IntVar(&o.backlog, "backlog", 10_000_000, "hold, memory: entries of a large backlog")
	flag.IntVar(&o.rounds, "rounds", 0, "rounds of each side (default: drain 3, write 20, deadlocks 10)")
	flag.Parse()
	names := flag.Args()
	if len(names) == 0 {
		names = []string{"drain", "workers", "hold", "memory", "write"}
	}
	chosen, err := choose(names)
	if err != nil || o.entries < 1 || o.rounds < 0 {
		fmt.Fprintln(os.Stderr, "bench: want -entries of 1 or more, -rounds of 0 or more:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, chosen, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// choose returns the benchmarks with the names.
func choose(names []string) (chosen []benchmark, err error) {
	all := benchmarks()
	for _, name := range names {
		i := slices.IndexFunc(all, func(b benchmark) bool { return b.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no benchmark %q", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// run runs the benchmarks, and prints their results together in the end. One
// that fails does not stop the others.
func run(ctx context.Context, chosen []benchmark, o options) error {
	b, err := open(ctx)
	if err != nil {
		return err
	}
	var results []string
	var failed []error
	for _, one := range chosen {
		begun := time.Now()
		result, err := one.run(ctx, b, o)
		if ctx.Err() != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", one.name, err))
			fmt.Printf("\n%s failed: %v\n", one.name, err)
			continue
		}
		results = append(results, "bench: "+result)
		fmt.Printf("\n%s took %s\n", one.name, time.Since(begun).Round(time.Second))
	}
	fmt.Printf("\n%s\n", strings.Join(results, "\n"))
	return errors.Join(failed...)
}

func or(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}
