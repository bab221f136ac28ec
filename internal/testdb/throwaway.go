package testdb

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startWithin bounds how long a server may take to answer.
const startWithin = 90 * time.Second

// Server is a throw-away server, which this process started from a local
// binary. Its data go with it.
type Server struct {
	URL     string
	Service Service

	programs string // where they are; "" where they usually are
	dir      string
	port     int
	log      *logBuffer
	cmd      *exec.Cmd
	end      chan struct{} // closed when the process has ended
}

// logBuffer keeps what a server says.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBuffer) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := l.text.Bytes()
	return string(text[max(0, len(text)-2000):])
}

// Launch starts a server on a free port of loopback and waits until it
// answers. The caller must call Stop.
func Launch(s Service) (*Server, error) { return launch(s, "") }

// launch starts a server with the programs of a folder.
func launch(s Service, programs string) (*Server, error) {
	dir, err := os.MkdirTemp("", s.Directory())
	if err != nil {
		return nil, err
	}
	server := &Server{Service: s, programs: programs, dir: dir, log: new(logBuffer)}
	if server.port, err = freePort(); err == nil {
		server.URL = s.at(server.port)
		if err = server.prepare(); err == nil {
			err = server.run()
		}
	}
	if err != nil {
		server.Stop()
		return nil, fmt.Errorf("start a throw-away %s: %w\n%s", s, err, server.log.tail())
	}
	return server, nil
}

// Directory returns how the names of the service's throw-away data begin.
func (s Service) Directory() string { return "reliable-" + s.String() + "-" }

// at returns the URL of the service on a port of loopback.
func (s Service) at(port int) string {
	return fmt.Sprintf([...]string{"postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", "mysql://root@127.0.0.1:%d/", "redis://127.0.0.1:%d/0"}[s], port)
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// run starts the process and waits until it answers.
func (s *Server) run() error {
	cmd, err := s.command()
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = s.log, s.log
	if err := cmd.Start(); err != nil {
		return err
	}
	end := make(chan struct{})
	s.cmd, s.end = cmd, end
	go func() { _ = cmd.Wait(); close(end) }()
	deadline := time.After(startWithin)
	for {
		err := s.Service.ping(s.URL)
		if err == nil {
			return nil
		}
		select {
		case <-end:
			return fmt.Errorf("it ended: %s", cmd.ProcessState)
		case <-deadline:
			return fmt.Errorf("no answer within %s: %w", startWithin, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Stop ends the server and removes its data.
func (s *Server) Stop() {
	if s.cmd != nil {
		signal := syscall.SIGTERM
		if s.Service == PostgreSQL {
			signal = syscall.SIGQUIT // at once, whoever is connected
		}
		_ = s.Resume()
		_ = s.cmd.Process.Signal(signal)
		select {
		case <-s.end:
		case <-time.After(20 * time.Second):
			s.Kill()
		}
	}
	_ = os.RemoveAll(s.dir)
}

// Kill ends the server with SIGKILL.
func (s *Server) Kill() {
	_ = s.signal(syscall.SIGKILL) // what is gone needs none
	<-s.end
}

// Quit ends PostgreSQL at once, without a checkpoint, as its immediate shutdown
// does. Restart starts it again, with its data.
func (s *Server) Quit() error {
	if err := s.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		return err
	}
	<-s.end
	return nil
}

// Pause lets the server stand still, with its connections open.
func (s *Server) Pause() error { return s.signal(syscall.SIGSTOP) }

// Resume ends a pause.
func (s *Server) Resume() error { return s.signal(syscall.SIGCONT) }

// signal reaches the server and its children: PostgreSQL has one for each
// connection.
func (s *Server) signal(signal syscall.Signal) error {
	var errs []error
	for _, pid := range family(s.cmd.Process.Pid) {
		if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Restart starts a killed server again, on the same port with the same data.
func (s *Server) Restart() error {
	select {
	case <-s.end:
	default:
		return errors.New("testdb: the server runs")
	}
	var err error
	for range 20 { // processes of the killed one may hold on to its data for a moment
		if err = s.run(); err == nil {
			return nil
		}
		<-s.end
		time.Sleep(100 * time.Millisecond) //nolint:forbidigo // nothing tells when they are gone
	}
	return fmt.Errorf("restart %s: %w\n%s", s.Service, err, s.log.tail())
}

// Start is Launch for a test: the server is stopped with it.
func Start(t testing.TB, s Service) *Server {
	t.Helper()
	server, err := Launch(s)
	if err != nil {
		t.Fatalf("testdb: %v\n%s", err, s.Remedy())
	}
	t.Cleanup(server.Stop)
	return server
}
