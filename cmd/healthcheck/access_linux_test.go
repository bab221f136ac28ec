package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/healthcheck"
)

// built returns the command, where everybody can run it, and the directory that
// it is in.
func built(tb testing.TB) (command, dir string) {
	tb.Helper()
	dir, err := os.MkdirTemp("", "healthcheck-") // everybody may enter it, unlike TempDir's parent
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	command = filepath.Join(dir, "healthcheck")
	if out, err := exec.Command("go", "build", "-o", command, ".").CombinedOutput(); err != nil {
		tb.Fatalf("go build: %v: %s", err, out)
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // it is what this is about
		tb.Fatal(err)
	}
	return command, dir
}

// beating makes a heartbeat of this process. Each beat writes it anew.
func beating(tb testing.TB, dir string) (path string, beat func()) {
	tb.Helper()
	f, err := healthcheck.Create(filepath.Join(dir, "heartbeat"), "abc")
	if err != nil {
		tb.Fatal(err)
	}
	beat = func() {
		now := time.Now()
		idle := healthcheck.Thread{Name: "executor 1", State: healthcheck.Idle, Since: now, Deadline: now.Add(time.Hour)}
		if err := f.Write(&healthcheck.Report{Written: now, Phase: healthcheck.Running, Threads: []healthcheck.Thread{idle}}); err != nil {
			tb.Fatal(err)
		}
	}
	beat()
	return f.Path(), beat
}

// Another user than the worker's, as a probe may be, is told that the worker
// lives if the heartbeat may be read, and what is in the way if not (68).
func TestAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can run a command as another user")
	}
	command, dir := built(t)
	path, _ := beating(t, dir)
	for _, test := range []struct {
		file, dir os.FileMode
		code      int
		want      string
	}{
		{0o644, 0o755, 0, "healthy: worker abc is running"},
		{0o600, 0o755, 1, "permission denied"},
		{0o000, 0o755, 1, "permission denied"},
		{0o644, 0o755, 0, "healthy: "},
		{0o644, 0o711, 0, "healthy: "},
	} {
		if err := errors.Join(os.Chmod(path, test.file), os.Chmod(dir, test.dir)); err != nil {
			t.Fatal(err)
		}
		if code, line := asNobody(t, command, path); code != test.code || !strings.Contains(line, test.want) {
			t.Errorf("%v in %v: healthcheck: %d, %q, want %d and %q", test.file, test.dir, code, line, test.code, test.want)
		}
	}
	closed := filepath.Join(dir, "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	hidden, _ := beating(t, closed)
	for _, path := range []string{hidden, closed} {
		if code, line := asNobody(t, command, path); code != 1 || !strings.HasPrefix(line, "unhealthy: ") || !strings.Contains(line, "permission denied") {
			t.Errorf("%s: healthcheck: %d, %q, want 1 and that it may not be read", path, code, line)
		}
	}
}

// asNobody runs the command as a user who may do nothing.
func asNobody(t *testing.T, command, path string) (code int, line string) {
	t.Helper()
	c := exec.Command(command, path)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := c.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), string(out)
}

// BenchmarkCommand is how long a probe takes, with the start of its process.
func BenchmarkCommand(b *testing.B) {
	command, dir := built(b)
	path, beat := beating(b, dir)
	for b.Loop() {
		beat() // a hundredth of it
		if out, err := exec.Command(command, path).CombinedOutput(); err != nil {
			b.Fatalf("healthcheck: %v: %s", err, out)
		}
	}
}
