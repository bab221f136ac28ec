// Command bench measures side by side, by turns, in one run on one PostgreSQL:
//
//	drain      River, ours and the raw floor drain a backlog
//	ours       ours drains alone
//	ours_keys  ours drains alone, in order per causality key
//	workers    worker processes share a backlog; threads in one process
//	hold       a drain while another transaction holds xmin, and one before a large backlog
//	memory     what a worker process takes before a large backlog, and with large entries
//	latency    from the commit to the callback
//	write      GORM writes without the plugin and with it
//	ordered    ours and the algorithm of the gem's ordered processor drain backlogs in order per causality key
//	deadlocks  transactions that deadlock: plain, with a locking SELECT before each write, and with the plugin
//
// Without an argument it does all but ours, ours_keys and deadlocks. With -database mariadb or
// sqlite, ours drains alone on that. README.md says how to read the results.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"slices"
	"syscall"
	"time"

	"github.com/gorm-aftercommit/aftercommit/worker"
)

// options are what the command line says.
type options struct {
	database string
	entries  int    // of what is drained
	backlog  int    // of what waits behind it
	commits  int    // whose latency is measured, of each kind
	rounds   int    // 0: as many as the benchmark takes
	threads  int    // of a side that keeps order
	profile  string // file for this process's CPU profile; empty is none
}

// results are lines of names and numbers.
type results []string

// benchmark measures something, and prints what it sees.
type benchmark struct {
	name string
	run  func(ctx context.Context, b *bench, o options) (results, error)
}

func benchmarks() []benchmark {
	return []benchmark{
		{"drain", drain},
		{"ours", drainOurs},
		{"ours_keys", orderedOurs},
		{"workers", workers},
		{"hold", hold},
		{"memory", memory},
		{"latency", latency},
		{"write", write},
		{"ordered", ordered},
		{"deadlocks", deadlocks},
	}
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == programName {
		fail(runProgram(os.Stdin, os.Stdout))
		return
	}
	o, names := parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	chosen, err := choose(names)
	fail(err)
	profiled, err := profile(o.profile)
	fail(err)
	if other, ok := others()[o.database]; ok {
		err = other.drain(ctx, o)
	} else {
		err = run(ctx, chosen, o)
	}
	fail(errors.Join(err, profiled()))
}

// parse reads the command line. One that makes no sense ends the process.
func parse() (o options, names []string) {
	flag.StringVar(&o.database, "database", "postgres", "postgres; mariadb or sqlite, where ours drains alone")
	flag.IntVar(&o.entries, "entries", 400_000, "entries of a backlog")
	flag.IntVar(&o.backlog, "backlog", 10_000_000, "hold, memory: entries of a large backlog")
	flag.IntVar(&o.commits, "commits", 300, "latency: commits of each kind")
	flag.IntVar(&o.rounds, "rounds", 0, "rounds of each side (default: write 20, deadlocks 10, others 3)")
	flag.IntVar(&o.threads, "threads", worker.DefaultThreads, "ordered: threads of ours and of the gem's way")
	flag.StringVar(&o.profile, "cpuprofile", "", "write a CPU profile of this process to the file")
	flag.Parse()
	_, other := others()[o.database]
	if o.entries < 1 || o.backlog < o.entries || o.commits < 1 || o.rounds < 0 || o.threads < 1 || !other && o.database != "postgres" || other && flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "bench: want -database postgres, or mariadb or sqlite without the name of a benchmark; -entries, -commits and -threads of 1 or more; "+
			"-backlog of -entries or more; -rounds of 0 or more")
		os.Exit(2)
	}
	if names = flag.Args(); len(names) == 0 {
		names = []string{"drain", "workers", "hold", "memory", "latency", "write", "ordered"}
	}
	return o, names
}

// fail ends the process if there is an error.
func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// profile begins to write a CPU profile, and returns how to end it.
func profile(path string) (end func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() error { pprof.StopCPUProfile(); return file.Close() }, nil
}

// choose returns the benchmarks with the names.
func choose(names []string) (chosen []benchmark, err error) {
	all := benchmarks()
	for _, name := range names {
		i := slices.IndexFunc(all, func(b benchmark) bool { return b.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no benchmark %q: want drain, ours, ours_keys, workers, hold, memory, latency, write, ordered or deadlocks", name)
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
	var all results
	var failed []error
	for _, one := range chosen {
		begun := time.Now()
		found, err := one.run(ctx, b, o)
		if ctx.Err() != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", one.name, err))
			fmt.Printf("\n%s failed: %v\n", one.name, err)
			continue
		}
		all = append(all, found...)
		fmt.Printf("\n%s took %s\n", one.name, time.Since(begun).Round(time.Second))
	}
	fmt.Println()
	for _, line := range all {
		fmt.Println("bench:", line)
	}
	return errors.Join(failed...)
}

func or(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}
