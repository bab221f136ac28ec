package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// process is a worker process that this one started.
type process struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	ready chan struct{}
	ended chan struct{} // closed once peak and err are known
	peak  int64         // bytes
	err   error
}

// start starts a worker process and waits until it is ready. It tells of each
// run to ran, which may be nil.
func start(ctx context.Context, p program, ran func(id uint, at time.Duration)) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	s := &process{cmd: exec.Command(self, programName), ready: make(chan struct{}), ended: make(chan struct{})}
	s.cmd.Stderr = os.Stderr
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go s.listen(out, ran)
	if _, err := s.in.Write(append(text, '\n')); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	select {
	case <-s.ready:
		return s, nil
	case <-s.ended:
		return nil, fmt.Errorf("worker process: %w", s.err)
	case <-ctx.Done():
		return nil, errors.Join(context.Cause(ctx), s.stop())
	}
}

// listen reads what the process says until it ends.
func (s *process) listen(out io.Reader, ran func(id uint, at time.Duration)) {
	defer close(s.ended)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var id uint
		var at time.Duration
		switch line := lines.Text(); {
		case line == "ready":
			close(s.ready)
		case ran != nil && scan(line, "ran %d %d", &id, &at):
			ran(id, at)
		default:
			scan(line, "peak %d", &s.peak)
		}
	}
	s.err = s.cmd.Wait()
}

func scan(line, format string, into ...any) bool {
	n, err := fmt.Sscanf(line, format, into...)
	return err == nil && n == len(into)
}

// begin lets the process work.
func (s *process) begin() error {
	_, err := io.WriteString(s.in, "go\n")
	return err
}

// stop lets the process drain, and waits until it has ended. One that does not
// is killed.
func (s *process) stop() error {
	_ = s.in.Close()
	patience := time.NewTimer(time.Minute)
	defer patience.Stop()
	select {
	case <-s.ended:
		return s.err
	case <-patience.C:
		_ = s.cmd.Process.Kill()
		<-s.ended
		return fmt.Errorf("the worker process did not drain within a minute: killed: %w", s.err)
	}
}

// crowd is what worker processes came to together.
type crowd struct {
	took time.Duration
	peak int64 // of the largest
}

// drainedBy has n worker processes drain a span. The clock starts when all of
// them are connected.
func (p place) drainedBy(ctx context.Context, n int, as program, s span) (c crowd, err error) {
	as.URL = p.url
	var processes []*process
	defer func() {
		for _, one := range processes {
			_ = one.in.Close() // all at once
		}
		for _, one := range processes {
			err = errors.Join(err, one.stop())
			c.peak = max(c.peak, one.peak)
		}
	}()
	for range n {
		one, err := start(ctx, as, nil)
		if err != nil {
			return c, err
		}
		processes = append(processes, one)
	}
	begun := time.Now()
	for _, one := range processes {
		if err := one.begin(); err != nil {
			return c, err
		}
	}
	bounded, stop := context.WithTimeoutCause(ctx, patience, errSlow)
	defer stop()
	lost, cancel := context.WithCancelCause(bounded)
	defer cancel(nil)
	for _, one := range processes {
		go func() {
			select {
			case <-one.ended:
				cancel(fmt.Errorf("a worker process ended early: %w", one.err))
			case <-lost.Done():
			}
		}()
	}
	at, err := p.until(lost, p.drained(s)...)
	c.took = at.Sub(begun)
	return c, err
}
