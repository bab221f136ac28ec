package servers

import (
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// directory is where a server lives. Whoever holds its lock owns it, so that
// the next run can tell the directory of a killed one.
type directory struct {
	path string
	lock *os.File
}

const prefix = "reliable-test-"

// newDirectory makes a directory with an empty "data" in it that owner may
// write to, and removes what killed runs have left.
func newDirectory(k Kind, owner *syscall.Credential) (*directory, error) {
	if err := sweep(time.Now().Add(-time.Hour)); err != nil {
		return nil, err
	}
	path, err := os.MkdirTemp("", prefix+strings.ToLower(string(k))+"-")
	if err != nil {
		return nil, err
	}
	d := &directory{path: path}
	if d.lock, err = os.Create(filepath.Join(path, "lock")); err == nil {
		err = errors.Join(syscall.Flock(int(d.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB), os.Mkdir(filepath.Join(path, "data"), 0o700))
	}
	if owner != nil && err == nil {
		uid, gid := int(owner.Uid), int(owner.Gid)
		err = errors.Join(os.Chown(path, uid, gid), os.Chown(filepath.Join(path, "data"), uid, gid))
	}
	if err != nil {
		return nil, errors.Join(err, d.remove())
	}
	return d, nil
}

// remove removes the directory and gives the lock back.
func (d *directory) remove() error {
	err := os.RemoveAll(d.path)
	if errors.Is(err, syscall.ENOTEMPTY) { // a dying process has added a file
		err = os.RemoveAll(d.path)
	}
	_ = d.lock.Close() // nil is fine
	return err
}

// sweep removes the directories that were made before a time and whose owners
// are gone.
func sweep(before time.Time) error {
	locks, err := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*", "lock"))
	for _, name := range locks {
		found, failed := os.Stat(name)
		if failed != nil || !found.ModTime().Before(before) {
			continue // another run removes it, or has just made it
		}
		lock, failed := os.Open(name)
		if failed != nil {
			continue // another user's
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			err = errors.Join(err, os.RemoveAll(filepath.Dir(name)))
		}
		_ = lock.Close()
	}
	return err
}

// demote returns the first of users that exists, for a process of root: servers
// refuse to run as root. Others run servers as themselves.
func demote(users []string) (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	var err error
	for _, name := range users {
		found, failed := user.Lookup(name)
		if failed != nil {
			err = errors.Join(err, failed)
			continue
		}
		uid, failed := strconv.ParseUint(found.Uid, 10, 32)
		gid, failed2 := strconv.ParseUint(found.Gid, 10, 32)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(failed, failed2)
	}
	return nil, err
}
