package servers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// startTimeout is for one attempt to start a server.
const startTimeout = 90 * time.Second

// Server is a throw-away server. Its methods are not safe for concurrent use.
type Server struct {
	Kind Kind
	URL  string // the same after a restart

	*recipe
	dir  *directory
	port int
	user *syscall.Credential // nil is who runs this process
	life *life               // of the process that was started last
}

// Start makes a server and waits until it answers. The caller owes a
// [Server.Stop]. It returns a [*MissingError] if the programs are missing.
func (m Machine) Start(ctx context.Context, k Kind) (*Server, error) {
	recipe, err := m.recipe(k)
	if err != nil {
		return nil, &MissingError{[]Kind{k}}
	}
	s := &Server{Kind: k, recipe: recipe}
	if s.user, err = demote(recipe.users); err != nil {
		return nil, fmt.Errorf("start %s: %w", k, err)
	}
	if s.dir, err = newDirectory(k, s.user); err != nil {
		return nil, fmt.Errorf("start %s: %w", k, err)
	}
	err = s.create(ctx)
	for range 3 { // another process may take the port first
		if err != nil {
			break
		}
		if s.port, err = freePort(); err != nil {
			break
		}
		s.URL = fmt.Sprintf(recipe.url, s.port)
		if err = s.launch(ctx); !errors.Is(err, errEnded) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", k, err), s.Stop())
	}
	return s, nil
}

// PID returns the id of the server's main process.
func (s *Server) PID() int { return s.life.process.Pid }

// Restart starts the server again, on the same data and port. One that still
// runs is shut down in order first. Redis has its data on disk too.
func (s *Server) Restart(ctx context.Context) error {
	if !s.life.ended() {
		if err := s.end(s.shutdown); err != nil {
			return err
		}
	}
	return s.launch(ctx)
}

// Stop ends the server if it runs, and removes its directory.
func (s *Server) Stop() error {
	var err error
	if s.life != nil && !s.life.ended() {
		err = s.end(s.discard)
	}
	return errors.Join(err, s.dir.remove())
}

// end sends a signal and waits for the end, which it forces after a while.
func (s *Server) end(signal syscall.Signal) error {
	if err := errors.Join(s.Resume(), s.life.signal(signal)); err != nil {
		return fmt.Errorf("stop %s: %w", s.Kind, err)
	}
	select {
	case <-s.life.done:
		return nil
	case <-time.After(30 * time.Second):
		return s.Kill()
	}
}

func (s *Server) create(ctx context.Context) error {
	if s.recipe.create == nil {
		return nil
	}
	cmd := exec.CommandContext(ctx, s.recipe.create[0], s.recipe.create[1:]...)
	cmd.Dir = s.dir.path
	Tie(cmd)
	cmd.SysProcAttr.Credential = s.user
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(cmd.Path), err, tail(out))
	}
	return nil
}

// errEnded means that a server ended before it answered.
var errEnded = errors.New("it ended at once")

// launch starts the process and waits until it answers.
func (s *Server) launch(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(s.dir.path, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	command := s.serve(s.port)
	cmd := exec.Command(command[0], command[1:]...) // it lives until it is told to stop, not as long as ctx
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir.path, log, log
	Tie(cmd)
	cmd.SysProcAttr.Credential = s.user
	if s.life, err = begin(cmd); err != nil {
		return err
	}
	if err := s.ready(ctx); err != nil {
		text, _ := os.ReadFile(log.Name())
		if !s.life.ended() {
			err = errors.Join(err, s.Kill())
		}
		return fmt.Errorf("%w\n%s", err, tail(text))
	}
	return nil
}

// ready waits until the server answers.
func (s *Server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	retry := time.NewTicker(50 * time.Millisecond)
	defer retry.Stop()
	for {
		err := Answers(ctx, s.URL)
		if s.life.ended() { // who answers is another
			return errEnded
		}
		if err == nil {
			return nil
		}
		select {
		case <-s.life.done:
		case <-retry.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// freePort returns a port that is free now. It is below those that the system
// gives to outgoing connections, so that none of them can take it while the
// server is down.
func freePort() (int, error) {
	var refused []string
	for range 20 {
		port := 15000 + rand.IntN(15000)
		l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err == nil {
			return port, l.Close()
		}
		refused = append(refused, err.Error())
	}
	return 0, fmt.Errorf("no free port: %s", strings.Join(refused, "; "))
}
