package chaos_test

import (
	"errors"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// halt stops a worker with SIGSTOP, wherever it is, but for one place: if it
// stood still in a transaction of SQLite's one writer, no other worker could
// take over, and none could even start.
func (s *scene) halt(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	s.until(t, func() bool {
		if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		var status syscall.WaitStatus
		_, err := syscall.Wait4(cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
		for errors.Is(err, syscall.EINTR) {
			_, err = syscall.Wait4(cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
		}
		if err != nil || !status.Stopped() {
			t.Fatalf("SIGSTOP: the worker's status is %#x, error %v, want that it stands still", status, err)
		}
		if s.db.Name() != "sqlite" || s.writable(t) {
			return true
		}
		if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		return false
	})
}

// writable reports whether nobody writes to a SQLite database.
func (s *scene) writable(t *testing.T) bool {
	t.Helper()
	pool, err := s.url.Open(t).DB() // with settings of its own
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pool.Close() }()
	pool.SetMaxOpenConns(1)
	if _, err := pool.ExecContext(t.Context(), "PRAGMA busy_timeout = 100"); err != nil {
		t.Fatal(err)
	}
	tx, err := pool.BeginTx(t.Context(), nil) // becomes the writer at once: see testdb
	if err == nil {
		err = tx.Rollback()
	} else if strings.Contains(err.Error(), "SQLITE_BUSY") {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	return true
}
