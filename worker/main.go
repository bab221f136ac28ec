package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Exit codes of [Main].
const (
	ExitClean         = 0   // stopped as asked
	ExitFailure       = 1   // could not start, or not in time, or a callback did not stop
	ExitConfiguration = 2   // the environment has mistakes
	ExitInterrupted   = 130 // a second SIGINT
)

// Open makes the program's Worker: it connects to databaseURL, installs the
// plugin with the program's callbacks, and returns a Worker with that DB. What
// it sets beats the environment.
type Open func(ctx context.Context, databaseURL string) (*Worker, error)

// Main is the main function of a worker program: os.Exit(worker.Main(open)).
// It takes the settings from the environment (see the README), reports all
// mistakes in it at once, writes a heartbeat to RELIABLE_HEARTBEAT_FILE and
// serves [Worker.Handler] at PORT if these are set, also while open runs, logs to standard error, and works until SIGTERM or
// SIGINT; then it drains. Another SIGTERM changes nothing, a second SIGINT
// ends the process at once.
func Main(open Open) int {
	p := program{environ: os.Environ(), errors: os.Stderr, signals: make(chan os.Signal, 8), exit: os.Exit, listen: net.Listen}
	signal.Notify(p.signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(p.signals)
	return p.main(open)
}

// program is what Main takes from its process.
type program struct {
	environ []string
	errors  io.Writer
	signals chan os.Signal
	exit    func(code int)
	listen  func(network, address string) (net.Listener, error)
}

// stopError is the cause of a drain that a signal asked for.
type stopError struct{ signal os.Signal }

// Error implements error.
func (e stopError) Error() string { return fmt.Sprintf("signal %s", e.signal) }

func (p *program) main(open Open) int {
	s, err := read(p.environ)
	if err != nil {
		_, _ = fmt.Fprintln(p.errors, err) // without the secrets of values, but with examples of addresses
		return ExitConfiguration
	}
	logger := s.logger(p.errors)
	s.log(logger)
	l, err := p.begin(s, logger)
	if err != nil {
		_, _ = fmt.Fprintln(p.errors, reliable.Redact(err.Error()))
		return ExitConfiguration
	}
	defer l.end()
	ctx, stop := context.WithCancelCause(context.Background())
	over := make(chan struct{})
	watched := make(chan struct{})
	go func() { defer close(watched); p.watch(stop, over) }()
	defer func() { close(over); <-watched; stop(nil) }()
	defer l.limit(s.StartTimeout, stop, p.exit)()
	w, err := open(ctx, s.DatabaseURL)
	if err == nil && w == nil {
		err = errors.New("worker: the program returned no Worker")
	}
	if err == nil {
		err = s.apply(w)
	}
	if ctx.Err() != nil { // asked to stop while starting
		return l.stopped(ctx)
	}
	if err != nil {
		logger.Error("start", slog.String(reliable.LogKeyError, reliable.Redact(err.Error())))
		return ExitFailure
	}
	l.hand(w)
	if plugin, err := reliable.From(w.DB); err == nil {
		defer plugin.Monitor().LogTo(logger)()
	}
	if err := w.Run(ctx); err != nil {
		logger.Error("run", slog.String(reliable.LogKeyError, reliable.Redact(err.Error())))
		return ExitFailure
	}
	return l.stopped(ctx)
}

// watch drains on the first signal and exits on a second SIGINT.
func (p *program) watch(stop context.CancelCauseFunc, over <-chan struct{}) {
	interrupts := 0
	for {
		select {
		case <-over:
			return
		case s := <-p.signals:
			stop(stopError{s})
			if s == os.Interrupt {
				if interrupts++; interrupts == 2 {
					p.exit(ExitInterrupted)
				}
			}
		}
	}
}

// logger writes in the format and from the level that the settings say.
func (s *settings) logger(out io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(s.LogLevel)) // was checked
	options := &slog.HandlerOptions{Level: level}
	if s.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(out, options))
	}
	return slog.New(slog.NewTextHandler(out, options))
}
