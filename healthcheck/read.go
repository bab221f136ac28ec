package healthcheck

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// mostBytes is how large a heartbeat may be: that of 10,000 threads is 2 MB.
const mostBytes = 16 << 20

// Check returns the heartbeats that a path names, a file or a directory of
// them, and nil if every worker that wrote one is healthy. Otherwise the error
// says why not, in one line.
func Check(path string) ([]*Report, error) {
	files := []string{path}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		if files, err = heartbeats(path); err != nil {
			return nil, unreadable(path, err)
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("no worker has written a heartbeat into %s", path)
		}
	}
	var reports []*Report
	var mistakes []string
	for _, file := range files {
		report, err := check(file)
		if err != nil {
			mistakes = append(mistakes, err.Error())
			continue
		}
		reports = append(reports, report)
	}
	if len(mistakes) > 0 {
		return reports, errors.New(line(strings.Join(mistakes, "; ")))
	}
	return reports, nil
}

// check reads a heartbeat and holds it against the process that wrote it.
func check(path string) (*Report, error) {
	r, err := read(path)
	if err != nil {
		return nil, err
	}
	if err := r.alive(path); err != nil {
		return nil, err
	}
	age := r.age(time.Now(), uptime())
	switch {
	case age > Fresh:
		return nil, fmt.Errorf("%s is stale: worker %s (process %d) wrote it %s ago: it stands still, or can't write there any more", path, r.ID, r.PID, short(age))
	case age < -Fresh:
		return nil, fmt.Errorf("%s is of the future: worker %s (process %d) wrote it %s ahead of this clock, which was set back", path, r.ID, r.PID, short(-age))
	}
	if err := r.Err(max(age, 0)); err != nil {
		return nil, err
	}
	return r, nil
}

// read reads a heartbeat.
func read(path string) (*Report, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	if !info.Mode().IsRegular() { // a pipe would keep it waiting
		return nil, fmt.Errorf("%s is no heartbeat: a worker writes a regular file, not %s", path, kind(info.Mode()))
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, mostBytes+1))
	if err != nil {
		return nil, unreadable(path, err)
	}
	if len(text) > mostBytes {
		return nil, fmt.Errorf("%s is no heartbeat: it is larger than %d MB", path, mostBytes>>20)
	}
	r := new(Report)
	err = json.Unmarshal(text, r)
	var mismatch *json.UnmarshalTypeError // all else is filled in, also the version
	if err != nil && !errors.As(err, &mismatch) {
		return nil, fmt.Errorf("%s is no heartbeat, or a broken one: %w", path, err)
	}
	if r.Version != Version {
		return nil, fmt.Errorf("%s is a heartbeat of version %d, and this healthcheck reads version %d: use the one of the worker's release", path, r.Version, Version)
	}
	if err != nil {
		return nil, fmt.Errorf("%s is no heartbeat, or a broken one: %w", path, err)
	}
	if err := r.mistake(); err != nil {
		return nil, fmt.Errorf("%s is no heartbeat, or a broken one: %s", path, strings.ReplaceAll(err.Error(), "\n", ", "))
	}
	return r, nil
}

// alive returns why the process that wrote a report is not alive.
func (r *Report) alive(path string) error {
	if host, err := os.Hostname(); err == nil && host != r.Host {
		return fmt.Errorf("%s was written on the host %q, and this is %q: give each host, and each container, a place of its own", path, r.Host, host)
	}
	if boot := machine(); boot != "" && r.Boot != "" && boot != r.Boot {
		return fmt.Errorf("%s was written before the machine was started: worker %s is gone", path, r.ID)
	}
	if r.dead() {
		return fmt.Errorf("worker %s is gone: the process %d that wrote %s does not live any more, at least not here; run healthcheck in the worker's container", r.ID, r.PID, path)
	}
	return nil
}

// dead reports whether the process that wrote a report on this host has ended,
// also if its pid is another's now.
func (r *Report) dead() bool {
	ticks, zombie := begun(r.PID)
	return zombie || ticks != "" && r.Begun != "" && ticks != r.Begun || gone(r.PID)
}

// age returns how long ago a report was written: by the machine's uptime if
// that is known, or else by the wall clock.
func (r *Report) age(now time.Time, up time.Duration) time.Duration {
	if up > 0 && r.Uptime > 0 {
		return up - time.Duration(r.Uptime)*time.Millisecond
	}
	return now.Sub(r.Written)
}

// heartbeats returns the files of a directory that workers have written.
func heartbeats(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if name := e.Name(); strings.HasPrefix(name, prefix) && strings.HasSuffix(name, suffix) {
			files = append(files, filepath.Join(dir, name))
		}
	}
	return files, nil
}

func unreadable(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is not there: no worker runs that writes it; it is what %s names", path, Variable)
	}
	return fmt.Errorf("the heartbeat can't be read: %w", err)
}

func kind(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeSymlink != 0:
		return "a symbolic link"
	case mode.IsDir():
		return "a directory"
	default:
		return "a device, pipe or socket"
	}
}
