package healthcheck_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/healthcheck"
)

// lively is a worker with a thread of each kind, inside its deadlines.
func lively() *healthcheck.Report {
	now := time.Now()
	return &healthcheck.Report{Written: now, Phase: healthcheck.Running, Threads: []healthcheck.Thread{
		{Name: "executor 1", State: healthcheck.Busy, Work: "Order receipt", Since: now.Add(-time.Hour), Deadline: now.Add(time.Minute)},
		{Name: "executor 2", State: healthcheck.Idle, Since: now.Add(-time.Minute), Deadline: now.Add(healthcheck.Fresh)},
		{Name: "executor 3", State: healthcheck.Waiting, Since: now, Deadline: now.Add(healthcheck.Fresh)},
	}}
}

// written returns the path of a heartbeat that this process wrote.
func written(t *testing.T, r *healthcheck.Report) string {
	t.Helper()
	f, err := healthcheck.Create(filepath.Join(t.TempDir(), "heartbeat"), "abc")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Write(r); err != nil {
		t.Fatal(err)
	}
	return f.Path()
}

// altered returns the path of a heartbeat of which some values were changed.
func altered(t *testing.T, changes map[string]any) string {
	t.Helper()
	path := written(t, lively())
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]any)
	if err := json.Unmarshal(text, &values); err != nil {
		t.Fatal(err)
	}
	for name, value := range changes {
		values[name] = value
	}
	if text, err = json.Marshal(values); err != nil {
		t.Fatal(err)
	}
	put(t, path, string(text))
	return path
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// run runs command healthcheck. It must exit 0 or 1, with one line.
func run(t *testing.T, args ...string) (code int, line string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = healthcheck.Main(args, func(string) string { return "" }, &out, &errs)
	line = out.String()
	if code != 0 {
		line = errs.String()
	}
	if code != 0 && code != 1 || out.Len() > 0 == (code == 1) || errs.Len() > 0 == (code == 0) || strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
		t.Errorf("Main(%q) = %d, out %q, errors %q, want 0 or 1 and one line", args, code, &out, &errs)
	}
	return code, line
}

func TestHealthy(t *testing.T) {
	code, line := run(t, written(t, lively()))
	if code != 0 || line != "healthy: worker abc is running: 1 busy, 1 waiting, 1 idle\n" {
		t.Errorf("Main() = %d, %q, want 0 and what it does", code, line)
	}
}

// A thread that is past its deadline is told from one that is busy for long.
func TestStuck(t *testing.T) {
	r := lively()
	r.Threads[0].Deadline = r.Written.Add(-3 * time.Second)
	code, line := run(t, written(t, r))
	if code != 1 || !regexp.MustCompile(`^unhealthy: executor 1 of worker abc is stuck: busy with Order receipt for 1h0m0s, 3s past its deadline\n$`).MatchString(line) {
		t.Errorf("Main() = %d, %q, want the thread that is stuck", code, line)
	}
	r.Threads[2].Deadline = r.Written.Add(-time.Second)
	if err := r.Err(0); err == nil || !strings.Contains(err.Error(), "executor 1") || !strings.HasSuffix(err.Error(), "; stuck in all: 2") {
		t.Errorf("Err() = %v, want the worst, and how many others", err)
	}
	if err := lively().Err(healthcheck.Fresh + time.Second); err == nil || !strings.Contains(err.Error(), "executor 2") {
		t.Errorf("Err(later) = %v, want the idle thread that does not show itself", err)
	}
}

// What the worker does not take work for is another question.
func TestReady(t *testing.T) {
	for phase, want := range map[healthcheck.Phase]int{healthcheck.Starting: 1, healthcheck.Running: 0, healthcheck.Draining: 1} {
		r := lively()
		r.Phase = phase
		path := written(t, r)
		if code, line := run(t, path); code != 0 {
			t.Errorf("%s: Main() = %d, %q, want 0", phase, code, line)
		}
		if code, line := run(t, "-ready", path); code != want || !strings.Contains(line, "is "+string(phase)) {
			t.Errorf("%s: Main(-ready) = %d, %q, want %d and the phase", phase, code, line, want)
		}
	}
}

// child starts a process that ends at once, and lives on as a zombie until
// reap.
func child(t *testing.T) (pid int, reap func()) {
	t.Helper()
	c := exec.Command("true")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = out.Read(make([]byte, 1)) // its end
	return c.Process.Pid, func() {
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
	}
}

// Whatever is wrong with the file: it is never taken for a sign of life, and
// the line says what it is (68).
func TestUnhealthy(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		put(t, path, text)
		return path
	}
	whole, err := os.ReadFile(written(t, lively()))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(written(t, lively()), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	gone, reap := child(t)
	reap()
	empty := t.TempDir()
	for name, test := range map[string]struct{ path, want string }{
		"missing":           {filepath.Join(dir, "missing"), "is not there: no worker runs that writes it"},
		"empty":             {file("empty", ""), "is no heartbeat, or a broken one"},
		"truncated":         {file("truncated", string(whole[:len(whole)/2])), "is no heartbeat, or a broken one"},
		"trailing":          {file("trailing", string(whole)+"{"), "is no heartbeat, or a broken one"},
		"another's":         {file("another", `{"pid":1}`), "version 0"},
		"newer":             {altered(t, map[string]any{"version": 2, "threads": "so many"}), "version 2, and this healthcheck reads version 1"},
		"wrong types":       {altered(t, map[string]any{"threads": "so many"}), "is no heartbeat"},
		"nothing in it":     {file("nothing", `{"version":1}`), "no id, no pid, no time"},
		"unknown state":     {altered(t, map[string]any{"threads": []any{map[string]any{"name": "x\ny", "state": "odd"}}}), "thread"},
		"symbolic link":     {filepath.Join(dir, "link"), "a symbolic link"},
		"pipe":              {filepath.Join(dir, "pipe"), "a device, pipe or socket"},
		"directory":         {empty, "no worker has written a heartbeat into"},
		"dead process":      {altered(t, map[string]any{"pid": gone}), "is gone: the process"},
		"reused pid":        {altered(t, map[string]any{"begun": "1"}), "does not live any more"},
		"other host":        {altered(t, map[string]any{"host": "elsewhere"}), `written on the host "elsewhere"`},
		"before the reboot": {altered(t, map[string]any{"boot": "earlier"}), "before the machine was started"},
		"stale":             {altered(t, map[string]any{"uptime_ms": 1}), "is stale: worker abc"},
		"stale by the wall": {altered(t, map[string]any{"uptime_ms": 0, "written": time.Now().Add(-time.Minute)}), "is stale: worker abc"},
		"of the future":     {altered(t, map[string]any{"uptime_ms": 0, "written": time.Now().Add(time.Hour)}), "of the future"},
	} {
		if code, line := run(t, test.path); code != 1 || !strings.HasPrefix(line, "unhealthy: ") || !strings.Contains(line, test.want) {
			t.Errorf("%s: Main() = %d, %q, want 1 and %q", name, code, line, test.want)
		}
	}
	if code, line := run(t); code != 1 || !strings.Contains(line, "RELIABLE_HEARTBEAT_FILE") {
		t.Errorf("Main() without a path = %d, %q, want the variable", code, line)
	}
	if code, line := run(t, "--fast"); code != 1 || !strings.Contains(line, "known is -ready") {
		t.Errorf("Main(--fast) = %d, %q, want what is known", code, line)
	}
}

// Nobody reaps a process whose container has no init (68).
func TestZombie(t *testing.T) {
	pid, reap := child(t)
	defer reap()
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("no /proc")
	}
	path := altered(t, map[string]any{"pid": pid, "begun": ""})
	deadline := time.After(time.Minute)
	for {
		code, line := run(t, path)
		if code == 1 && strings.Contains(line, "is gone") {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("Main() = %d, %q, want 1: it is a zombie", code, line)
		case <-time.After(5 * time.Millisecond): // its pipe is closed a moment earlier
		}
	}
}

// A clock that is set changes nothing, where the machine tells its uptime (68).
func TestClockIsSet(t *testing.T) {
	if _, err := os.Stat("/proc/uptime"); err != nil {
		t.Skip("no /proc/uptime")
	}
	for name, by := range map[string]time.Duration{"ahead": time.Hour, "back": -time.Hour} {
		r := lively()
		r.Written = r.Written.Add(by)
		for i := range r.Threads {
			r.Threads[i].Since = r.Threads[i].Since.Add(by)
			r.Threads[i].Deadline = r.Threads[i].Deadline.Add(by)
		}
		if code, line := run(t, written(t, r)); code != 0 {
			t.Errorf("%s: Main() = %d, %q, want 0", name, code, line)
		}
	}
}

func TestHelp(t *testing.T) {
	if code, line := run(t, "-h"); code != 0 || !strings.Contains(line, "-ready") {
		t.Errorf("Main(-h) = %d, %q, want the flags", code, line)
	}
}
