package servers

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// life is one run of a server's process.
type life struct {
	process *os.Process
	done    chan struct{} // closed when it has ended and is reaped
}

// begin starts cmd and reaps it when it ends.
func begin(cmd *exec.Cmd) (*life, error) {
	l := &life{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		defer close(l.done)
		runtime.LockOSThread() // the system takes the end of this thread for that of the parent
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // servers are killed: how they end says nothing
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	l.process = cmd.Process
	return l, nil
}

func (l *life) ended() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// signal reaches the main process. One that has ended is no error.
func (l *life) signal(s os.Signal) error {
	if err := l.process.Signal(s); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// Kill ends the server as a loss of power would: all of its processes at once,
// with nothing tidied up.
func (s *Server) Kill() error {
	if s.life.ended() {
		return nil
	}
	if err := errors.Join(s.Pause(), s.each(syscall.SIGKILL), s.life.signal(syscall.SIGKILL)); err != nil {
		return fmt.Errorf("kill %s: %w", s.Kind, err)
	}
	<-s.life.done
	return nil
}

// Pause stops all of the server's processes: connections stay open, and nobody
// answers.
func (s *Server) Pause() error {
	return errors.Join(s.life.signal(syscall.SIGSTOP), s.each(syscall.SIGSTOP)) // in this order no child is missed
}

// Resume lets a paused server go on.
func (s *Server) Resume() error {
	return errors.Join(s.each(syscall.SIGCONT), s.life.signal(syscall.SIGCONT))
}

// each signals the children of the main process: PostgreSQL has one for each
// connection.
func (s *Server) each(signal syscall.Signal) error {
	if s.life.ended() {
		return nil
	}
	pids, err := children(s.PID())
	for _, pid := range pids {
		if failed := syscall.Kill(pid, signal); !errors.Is(failed, syscall.ESRCH) {
			err = errors.Join(err, failed)
		}
	}
	return err
}
