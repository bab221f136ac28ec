package chaos_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/chaos"
)

// crew is the processes of one program, each on a post where another one takes
// its place when it ends.
type crew struct {
	command func(process int) *exec.Cmd
	attend  func(p *post, in io.WriteCloser, out io.Reader) // talks with a process; nil if nobody does
	logs    string                                          // folder of what they say
	ledger  *chaos.Ledger
	numbers *atomic.Int64 // of processes

	posts  []*post
	all    sync.WaitGroup
	cancel context.CancelFunc

	mu     sync.Mutex
	faults []string // ends that must not be
}

// post is where one process is at a time.
type post struct {
	mu      sync.Mutex
	cmd     *exec.Cmd
	process int
	ended   chan struct{} // closed when cmd has ended
	busy    bool          // it is stopped, or ends
	asked   bool          // to end, by SIGTERM
}

// man starts the crew.
func (c *crew) man(t *testing.T, posts int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	t.Cleanup(func() { c.end(syscall.SIGKILL) })
	for range posts {
		p := new(post)
		c.posts = append(c.posts, p)
		c.all.Go(func() {
			for ctx.Err() == nil {
				if err := c.serve(ctx, p); err != nil {
					c.fault(err.Error())
					return
				}
			}
		})
	}
}

func (c *crew) fault(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = append(c.faults, text)
}

// serve runs one process to its end.
func (c *crew) serve(ctx context.Context, p *post) error {
	process := int(c.numbers.Add(1))
	cmd := c.command(process)
	log, err := os.OpenFile(filepath.Join(c.logs, filepath.Base(cmd.Path)+"-"+strconv.Itoa(process)+".log"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd.Stderr = log
	begun := func() {}
	if c.attend != nil {
		in, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		begun = func() { c.all.Go(func() { c.attend(p, in, out) }) }
	}
	if err := p.start(cmd, process); err != nil {
		return err
	}
	begun()
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return err
	}
	how := ending(cmd)
	if err := c.ledger.WriteOf(process, "exit", how); err != nil {
		return err
	}
	asked := p.end()
	if how == "failed" && (asked || cmd.ProcessState.ExitCode() != 1) || how == "clean" && !asked {
		c.fault("process " + strconv.Itoa(process) + " ended with " + cmd.ProcessState.String())
	}
	if how == "failed" { // it could not reach the database when it began
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
	return nil
}

func (p *post) start(cmd *exec.Cmd, process int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	p.cmd, p.process, p.ended, p.busy, p.asked = cmd, process, make(chan struct{}), false, false
	return nil
}

// end notes that the process has ended, and tells whether it was asked to.
func (p *post) end() (asked bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.ended)
	p.cmd = nil
	return p.asked
}

// hit sends a signal to one of the processes that are not stopped and do not
// end, the one that pick draws. It returns false if there is none.
func (c *crew) hit(pick uint64, signal syscall.Signal) (p *post, process int, ended <-chan struct{}, ok bool) {
	for i := range c.posts {
		p := c.posts[(pick+uint64(i))%uint64(len(c.posts))]
		p.mu.Lock()
		ok := p.cmd != nil && !p.busy && p.cmd.Process.Signal(signal) == nil
		process, ended = p.process, p.ended
		if ok {
			p.busy, p.asked = signal != syscall.SIGKILL, signal == syscall.SIGTERM
		}
		p.mu.Unlock()
		if ok {
			return p, process, ended, true
		}
	}
	return nil, 0, nil, false
}

// resume lets a stopped process go on.
func (p *post) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(syscall.SIGCONT) // it may have ended
	}
	p.busy = false
}

// signal reaches all processes.
func (c *crew) signal(signal syscall.Signal) {
	for _, p := range c.posts {
		p.mu.Lock()
		if p.cmd != nil {
			p.asked = p.asked || signal == syscall.SIGTERM
			_ = p.cmd.Process.Signal(signal) // it may have ended
		}
		p.mu.Unlock()
	}
}

// end sends a signal to all processes until none is left.
func (c *crew) end(signal syscall.Signal) {
	c.cancel()
	over := make(chan struct{})
	go func() { c.all.Wait(); close(over) }()
	again := time.NewTicker(200 * time.Millisecond) // for one that was about to start
	defer again.Stop()
	for {
		c.signal(signal)
		select {
		case <-over:
			return
		case <-again.C:
		}
	}
}

// dismiss ends the crew with a signal, and returns the ends that must not be. A
// process that does not end tells, after a minute, what it does.
func (c *crew) dismiss(signal syscall.Signal) []string {
	stuck := time.AfterFunc(time.Minute, func() { c.signal(syscall.SIGABRT) })
	defer stuck.Stop()
	c.end(signal)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.faults
}

// leave notes that the process was asked to end.
func (p *post) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = true
}
