package matrix_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/chaos/matrix"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// victim is the path of the program that is killed.
var victim string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "matrix-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	victim = filepath.Join(dir, "victim")
	build := exec.Command("go", "build", "-tags", "failpoints", "-o", victim, "./victim")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		panic(err)
	}
	return m.Run()
}

// scene is a database with work, and the ledger of the workers.
type scene struct {
	url    testdb.DB
	db     *gorm.DB
	ledger string
	orders int
	env    []string // of the workers
}

func newScene(t *testing.T, d testdb.Dialect, counted bool, env ...string) *scene {
	t.Helper()
	s := &scene{url: testdb.New(t, d), ledger: filepath.Join(t.TempDir(), "ledger"), env: env}
	s.db = s.url.Open(t)
	callbacks := matrix.Callbacks{Run: func(context.Context, reliable.Change[matrix.Order], string) error { return nil }}
	if counted {
		s.env = append(s.env, "MATRIX_COUNTED=yes")
		callbacks.Counted = reliable.Callback[matrix.Order]{Name: "counted", On: reliable.OpCreate, RunTx: func(context.Context, *gorm.DB, reliable.Change[matrix.Order]) error { return nil }}
	}
	if err := errors.Join(s.db.AutoMigrate(&matrix.Order{}, &matrix.Effect{}), s.db.Use(reliable.New(reliable.Config{Registry: callbacks.Registry()})),
		migrations.Up(t.Context(), s.db)); err != nil {
		t.Fatal(err)
	}
	return s
}

// commit creates n orders.
func (s *scene) commit(t *testing.T, n int) {
	t.Helper()
	rows := make([]matrix.Order, n)
	if err := s.db.Create(&rows).Error; err != nil {
		t.Fatal(err)
	}
	s.orders += n
}

// process is a worker.
type process struct {
	*exec.Cmd
	ended chan struct{} // closed when it has ended
}

// start runs a worker that dies at a failpoint, if one is named.
func (s *scene) start(t *testing.T, failpoint string, threads, group int) *process {
	t.Helper()
	log := new(bytes.Buffer)
	p := &process{exec.Command(victim), make(chan struct{})}
	p.Env = append(append(os.Environ(), "DATABASE_URL="+s.url.URL, "MATRIX_LEDGER="+s.ledger, "MATRIX_PACE=2ms", "MATRIX_GROUP="+strconv.Itoa(group),
		"THREADS="+strconv.Itoa(threads), "RELIABLE_LEASE_TTL=1s", "RELIABLE_POLL_INTERVAL=20ms", "RELIABLE_BATCH_SIZE=10", "RELIABLE_FAILPOINT="+failpoint), s.env...)
	p.Stderr = log
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.Wait() // ProcessState says more
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill() // if it still runs
		<-p.ended
		if t.Failed() {
			t.Logf("worker at %q ended with %s:\n%.6000s", failpoint, p.ProcessState, log)
		}
	})
	return p
}

// dead reports whether a worker has ended, which must be by SIGKILL.
func (p *process) dead(t *testing.T) bool {
	t.Helper()
	if !p.over() {
		return false
	}
	if status, ok := p.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		t.Fatalf("the worker ended with %s, want SIGKILL at its failpoint", p.ProcessState)
	}
	return true
}

// drain ends a worker with SIGTERM while it works. One that has begun all that it
// holds has nothing to give back: then another one is asked.
func (s *scene) drain(t *testing.T, failpoint string, threads, group int) *process {
	t.Helper()
	for range 20 {
		s.commit(t, 100)
		before := s.verdict(t).Ended
		p := s.start(t, failpoint, threads, group)
		until(t, "it works", func() bool { return s.verdict(t).Ended > before+4 })
		p.terminate(t)
		until(t, "it ends", p.over)
		if p.ProcessState.ExitCode() != 0 {
			return p
		}
	}
	t.Fatalf("no worker comes by %s", failpoint)
	return nil
}

// over reports whether the process has ended.
func (p *process) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// terminate sends SIGTERM.
func (p *process) terminate(t *testing.T) {
	t.Helper()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// stop ends a worker with SIGTERM.
func (p *process) stop(t *testing.T) {
	t.Helper()
	p.terminate(t)
	until(t, "the worker ends after SIGTERM", p.over)
	if code := p.ProcessState.ExitCode(); code != 0 {
		t.Errorf("after SIGTERM the worker ended with %s, want exit code 0", p.ProcessState)
	}
}

// until waits for ok; a minute without it fails the test.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func (s *scene) count(t *testing.T, from string) (n int) {
	t.Helper()
	if err := s.db.Raw("SELECT count(*) FROM " + from).Scan(&n).Error; err != nil {
		t.Fatal(err)
	}
	return n
}

func (s *scene) verdict(t *testing.T) matrix.Verdict {
	t.Helper()
	v, err := matrix.Read(s.ledger)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
