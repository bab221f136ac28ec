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
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// programName is the argument that makes this binary a worker process.
const programName = "worker-process"

// program is a worker process. It gets this in JSON as the first line of its
// standard input (not on the command line, which all may read), connects and
// says "ready", begins to work on the second line, drains at the end of the
// input, and says what it took. So it ends with the process that started it,
// however that ends.
type program struct {
	URL        string
	Threads    int
	Completion processors.Completion
	Work       work
	NoListen   bool
	Report     bool // say of each run for which row it was, and when it began
}

// runProgram is the main function of a worker process.
func runProgram(in io.Reader, out io.Writer) error {
	signal.Ignore(os.Interrupt) // that of the terminal goes to the whole group
	commands := bufio.NewReader(in)
	text, err := commands.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("what to do: %w", err)
	}
	var p program
	if err := json.Unmarshal(text, &p); err != nil {
		return fmt.Errorf("what to do: %w", err)
	}
	return p.run(commands, out)
}

func (p program) run(commands *bufio.Reader, out io.Writer) error {
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
	db, closed, err := openOurs(p.URL, reliable.Config{Registry: p.Work.registry(ran)})
	if err != nil {
		return err
	}
	defer func() { _ = closed() }()
	pool, err := db.DB()
	if err != nil {
		return err
	}
	pool.SetMaxOpenConns(max(p.Threads, 1)) // for callbacks
	pool.SetMaxIdleConns(max(p.Threads, 1))
	say("ready")
	if _, err := commands.ReadString('\n'); err != nil {
		return nil //nolint:nilerr // it was not needed
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		defer stop()
		_, _ = io.Copy(io.Discard, commands)
	}()
	err = (&worker.Worker{DB: db, Threads: p.Threads, NoListen: p.NoListen, Processor: &processors.NonOrdered{Completion: p.Completion}}).Run(ctx)
	peak, perr := peakMemory()
	say("peak %d", peak)
	return errors.Join(err, perr)
}

// connections is how many connections the process has at most: those of the
// worker itself, and one for each thread.
func (p program) connections() int {
	own := worker.OwnConnections
	if p.NoListen {
		own = processors.OwnSessions
	}
	return own + max(p.Threads, 1)
}

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
