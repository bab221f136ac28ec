package healthcheck_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/healthcheck"
)

// Each worker of a container has a file of its own in a directory, and all of
// them must be healthy.
func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	var files []*healthcheck.File
	for _, id := range []string{"one", "two"} {
		f, err := healthcheck.Create(dir, id)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Write(lively()); err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	put(t, filepath.Join(dir, ".worker-one.json.one.tmp"), "{") // of a write that was broken off
	if code, line := run(t, dir); code != 0 || !strings.Contains(line, "worker one is running") || !strings.Contains(line, "worker two is running") {
		t.Errorf("Main() = %d, %q, want both", code, line)
	}
	r := lively()
	r.Threads[1].Deadline = r.Written.Add(-time.Second)
	if err := files[1].Write(r); err != nil {
		t.Fatal(err)
	}
	if code, line := run(t, dir); code != 1 || !strings.Contains(line, "executor 2 of worker two is stuck") {
		t.Errorf("Main() = %d, %q, want what is wrong with the second", code, line)
	}
	if err := files[1].Close(); err != nil {
		t.Fatal(err)
	}
	if code, line := run(t, dir); code != 0 || strings.Contains(line, "two") {
		t.Errorf("Main() = %d, %q, want the first alone", code, line)
	}
	if code, line := run(t, files[0].Path(), files[1].Path()); code != 1 || !strings.Contains(line, "worker-two.json is not there") {
		t.Errorf("Main(both) = %d, %q, want the second, which is missing", code, line)
	}
}

// Who comes after a worker that died removes its file, and no other's.
func TestLeftBehind(t *testing.T) {
	dir := t.TempDir()
	for name, changes := range map[string]map[string]any{
		"worker-dead.json": {"begun": "1"}, "worker-before.json": {"boot": "earlier"}, "worker-elsewhere.json": {"host": "elsewhere"}, "worker-lives.json": {},
	} {
		if err := os.Rename(altered(t, changes), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	put(t, filepath.Join(dir, "worker-strange.json"), "?")
	if _, err := healthcheck.Create(dir, "new"); err != nil {
		t.Fatal(err)
	}
	found, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range found {
		names = append(names, e.Name())
	}
	if got, want := strings.Join(names, " "), "worker-elsewhere.json worker-lives.json worker-strange.json"; got != want {
		t.Errorf("there are %s, want %s", got, want)
	}
}

// Two workers don't share a file; what a dead one left is no obstacle (68).
func TestOneFileOneWorker(t *testing.T) {
	if _, err := healthcheck.Create(written(t, lively()), "second"); err == nil || !strings.Contains(err.Error(), "the heartbeat of worker abc, process") {
		t.Errorf("Create() = %v, want the worker that has it", err)
	}
	for name, path := range map[string]string{"dead": altered(t, map[string]any{"begun": "1"}), "broken": altered(t, map[string]any{"pid": "?"})} {
		f, err := healthcheck.Create(path, "second")
		if err != nil {
			t.Errorf("%s: Create() = %v, want nil", name, err)
			continue
		}
		if err := f.Write(lively()); err != nil {
			t.Fatal(err)
		}
		if code, line := run(t, path); code != 0 {
			t.Errorf("%s: Main() = %d, %q, want 0", name, code, line)
		}
	}
}

// A file is only removed by the worker that wrote it.
func TestCloseLeavesOthers(t *testing.T) {
	path := written(t, lively())
	put(t, path, "")
	f, err := healthcheck.Create(path, "second")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(written(t, lively()), path); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("Stat() = %v, want the other worker's file", err)
	}
}

// A worker that can't write its heartbeat says so when it starts, and each
// write that fails is an error; a link in its place is replaced, not followed (68).
func TestUnwritable(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "file"), "")
	for _, path := range []string{filepath.Join(dir, "missing", "heartbeat"), filepath.Join(dir, "missing") + "/", filepath.Join(dir, "file", "heartbeat"), "/proc/heartbeat"} {
		_, err := healthcheck.Create(path, "abc")
		if err == nil || !strings.HasPrefix(err.Error(), "RELIABLE_HEARTBEAT_FILE="+path+": a heartbeat can't be written there: ") {
			t.Errorf("Create(%s) = %v, want the variable and why", path, err)
		}
	}
	if os.Getuid() != 0 { // whom no mode keeps out
		if err := os.Chmod(dir, 0o500); err != nil { //nolint:gosec // a directory
			t.Fatal(err)
		}
		if _, err := healthcheck.Create(filepath.Join(dir, "heartbeat"), "abc"); err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("Create() = %v, want permission denied", err)
		}
		if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a directory
			t.Fatal(err)
		}
	}
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	put(t, target, "precious")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	f, err := healthcheck.Create(link, "abc")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Write(lively()); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(target); err != nil || string(text) != "precious" {
		t.Errorf("the link's target holds %q, %v, want it as it was", text, err)
	}
	if code, line := run(t, link); code != 0 {
		t.Errorf("Main() = %d, %q, want 0", code, line)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := f.Write(lively()); err == nil {
		t.Error("Write() = nil without a directory, want an error")
	}
}
