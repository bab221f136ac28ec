package chaos_test

import (
	"bytes"
	"cmp"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/chaos"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// scene is a database with work, and the ledger of the workers.
type scene struct {
	url    testdb.DB
	db     *gorm.DB
	ledger string

	program string // of the workers; empty is victim
}

func newScene(t *testing.T, url testdb.DB) *scene {
	t.Helper()
	s := &scene{url: url, ledger: filepath.Join(t.TempDir(), "ledger")}
	s.db = s.url.Open(t)
	registry := chaos.Callbacks(chaos.Idle)
	batch := make([]chaos.Order, orders)
	if err := errors.Join(s.db.AutoMigrate(&chaos.Order{}), s.db.Use(reliable.New(reliable.Config{Registry: registry})),
		migrations.Up(t.Context(), s.db), s.db.Create(&batch).Error); err != nil {
		t.Fatal(err)
	}
	return s
}

// start runs a worker that dies at a failpoint, if one is named.
func (s *scene) start(t *testing.T, failpoint, pace string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	log := new(bytes.Buffer)
	cmd := exec.Command(cmp.Or(s.program, victim))
	cmd.Env = append(os.Environ(), "DATABASE_URL="+s.url.URL, "CHAOS_LEDGER="+s.ledger, "CHAOS_PACE="+pace, "RELIABLE_FAILPOINT="+failpoint,
		"THREADS="+strconv.Itoa(chaos.Threads), "RELIABLE_LEASE_TTL=1s", "RELIABLE_POLL_INTERVAL=20ms", "RELIABLE_BATCH_SIZE=40")
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // if it still runs
		if t.Failed() {
			t.Logf("worker at %q:\n%s", failpoint, log)
		}
	})
	return cmd, log
}

// wait waits for a worker's end.
func wait(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	stuck := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Signal(syscall.SIGABRT) })
	defer stuck.Stop()
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
}

// die waits until a worker has killed itself.
func die(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	wait(t, cmd)
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		t.Fatalf("the worker ended with %s, want SIGKILL at its failpoint", cmd.ProcessState)
	}
}

// drain runs a worker until nothing is left, and stops it.
func (s *scene) drain(t *testing.T) {
	t.Helper()
	cmd, _ := s.start(t, "", "0s")
	s.until(t, func() bool { return s.count(t, "outbox_entries") == 0 })
	s.stop(t, cmd)
}

// stop ends a worker with SIGTERM.
func (s *scene) stop(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	wait(t, cmd)
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("after SIGTERM the worker ended with %s, want exit code 0", cmd.ProcessState)
	}
}

// until waits for ok; a minute without it fails the test.
func (s *scene) until(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within a minute: %d entries are left", s.count(t, "outbox_entries"))
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

func (s *scene) verdict(t *testing.T) chaos.Verdict {
	t.Helper()
	v, err := chaos.Read(s.ledger)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// check holds the promise against ledger and tables after a number of kills.
func (s *scene) check(t *testing.T, kills int) {
	t.Helper()
	v := s.verdict(t)
	most := kills * (chaos.Threads + 2*chaos.FinishGroup)
	if v.Done != 2*orders || v.Duplicates > most || len(v.Faults) > 0 {
		t.Errorf("%d callbacks done, %d entries ran again, faults %q; want %d, at most %d, none", v.Done, v.Duplicates, v.Faults, 2*orders, most)
	}
	if n := s.count(t, "outbox_history"); n != orders {
		t.Errorf("history has %d entries, want %d", n, orders)
	}
	if n := s.count(t, "outbox_claims"); n != 0 {
		t.Errorf("%d claims are left, want 0", n)
	}
	if n := s.count(t, "outbox_history WHERE attempts > 0 OR crashes > 0"); n != 0 {
		t.Errorf("%d entries were blamed for a kill, want 0", n)
	}
	t.Logf("%d entries ran again after %d kills", v.Duplicates, kills)
}
