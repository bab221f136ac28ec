package healthcheck

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// How a worker's file in a directory is called, around its id.
const (
	prefix = "worker-"
	suffix = ".json"
)

// File is a worker's heartbeat, as the worker sees it. Its methods must be
// called by one goroutine at a time.
type File struct {
	path, id, boot, begun string
	temporary             string
}

// Create returns the heartbeat of worker id, and writes nothing yet. A path
// that is a directory, or ends in a slash, is a place for many: each gets a
// file of its own there, and those of processes that have ended are removed. A
// file of a process that lives is an error.
func Create(path, id string) (*File, error) {
	f := &File{id: id, boot: machine()}
	f.begun, _ = begun(os.Getpid())
	info, err := os.Stat(path)
	if strings.HasSuffix(path, "/") || err == nil && info.IsDir() {
		if err != nil {
			return nil, unwritable(path, err)
		}
		f.path = filepath.Join(path, prefix+id+suffix)
		if err := sweep(path); err != nil {
			return nil, unwritable(path, err)
		}
	} else {
		f.path = path
		if other, err := read(path); err == nil && other.alive(path) == nil && (other.PID != os.Getpid() || other.age(time.Now(), uptime()) < Fresh) {
			return nil, fmt.Errorf("%s=%s: it is the heartbeat of worker %s, process %d, which lives: name another file for each worker, or a directory", Variable, path, other.ID, other.PID)
		}
	}
	dir, name := filepath.Split(f.path)
	f.temporary = filepath.Join(dir, "."+name+"."+id+".tmp")
	probe, err := os.OpenFile(f.temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, unwritable(path, err)
	}
	if err := errors.Join(probe.Close(), os.Remove(f.temporary)); err != nil {
		return nil, unwritable(path, err)
	}
	return f, nil
}

// Path returns where the heartbeat is.
func (f *File) Path() string { return f.path }

// Write puts a report in the place of the last one. It fills in what identifies
// the process. Who reads the file sees the one or the other.
func (f *File) Write(r *Report) error {
	r.Version, r.ID, r.PID, r.Begun, r.Boot = Version, f.id, os.Getpid(), f.begun, f.boot
	r.Uptime = int64(uptime() / time.Millisecond)
	r.Host, _ = os.Hostname()
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("heartbeat: %w", err)
	}
	if err := f.replace(text); err != nil {
		_ = os.Remove(f.temporary)
		return fmt.Errorf("heartbeat: %w", err)
	}
	return nil
}

func (f *File) replace(text []byte) error {
	_ = os.Remove(f.temporary)                                                      // of a write that failed
	file, err := os.OpenFile(f.temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // others may read it: there is no secret in it
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(f.temporary, f.path)
}

// Close removes the file, unless another worker has it by now.
func (f *File) Close() error {
	if r, err := read(f.path); err == nil && r.ID != f.id {
		return nil
	}
	if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("heartbeat: %w", err)
	}
	return nil
}

// sweep removes what dead processes of this host left in a directory.
func sweep(dir string) error {
	files, err := heartbeats(dir)
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	boot := machine()
	for _, path := range files {
		r, err := read(path)
		if err != nil || r.Host != host || r.Boot == boot && !r.dead() {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		_ = os.Remove(filepath.Join(dir, "."+filepath.Base(path)+"."+r.ID+".tmp"))
	}
	return nil
}

func unwritable(path string, err error) error {
	return fmt.Errorf("%s=%s: a heartbeat can't be written there: %w; name a file in a directory that is there and that the worker may write to", Variable, path, err)
}
