package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// programName is the argument that makes this binary a worker process. What
// follows it is a program in JSON.
const programName = "worker-process"

// program is a worker process. It connects and says "ready", begins to work on
// the first line of its standard input, drains at its end, and says what it
// took; so it ends with the process that started it, however that ends.
type program struct {
	URL        string
	Threads    int
	Completion processors.Completion
	Work       work
	Report     bool // say of each run for which row it was, and when it began
}

// main runs the process and returns its exit code.
func (p program) main(in io.Reader, out io.Writer) int {
	signal.Ignore(os.Interrupt) // that of the terminal goes to the whole group
	if err := p.run(in, out); err != nil {
		fmt.Fprintln(os.Stderr, "bench: worker process:", err)
		return 1
	}
	return 0
}

func (p program) run(in io.Reader, out io.Writer) error {
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(out, format+"\n", args...)
	}
	ran := func(uint) {}
	if p.Report {
		ran = func(id uint) {
			at := clock()
			say("ran %d %d", id, at)
		}
	}
	db, closed, err := openOurs(p.URL, p.Work.registry(ran))
	if err != nil {
		return err
	}
	defer func() { _ = closed() }()
	pool, err := db.DB()
	if err != nil {
		return err
	}
	pool.SetMaxOpenConns(connections(p.Threads))
	pool.SetMaxIdleConns(connections(p.Threads))
	say("ready")
	commands := bufio.NewReader(in)
	if _, err := commands.ReadString('\n'); err != nil {
		return nil //nolint:nilerr // it was not needed
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		defer stop()
		_, _ = io.Copy(io.Discard, commands)
	}()
	err = (&worker.Worker{DB: db, Threads: p.Threads, Processor: &processors.NonOrdered{Completion: p.Completion}}).Run(ctx)
	peak, perr := peakMemory()
	say("peak %d", peak)
	return errors.Join(err, perr)
}

// connections is how many connections a worker process has at most: those of
// the worker itself, one for each thread, and one to spare.
func connections(threads int) int { return processors.OwnSessions + max(threads, 1) + 1 }

// clock reads the machine's monotonic clock, which all of its processes share.
func clock() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(err) // no kernel lacks it
	}
	return time.Duration(now.Nano())
}

// peakMemory returns the most memory that this process ever had resident, in
// bytes.
func peakMemory() (int64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("peak memory, known on Linux only: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("peak memory: /proc/self/status has no VmHWM")
}

// parseProgram reads a program from the command line.
func parseProgram(text string) (p program, err error) {
	return p, json.Unmarshal([]byte(text), &p)
}
