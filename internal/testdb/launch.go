package testdb

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Packages returns the Debian packages that hold the service's programs.
func (s Service) Packages() []string {
	return [...][]string{{"postgresql"}, {"mariadb-server"}, {"redis-server"}}[s]
}

// Remedy says what to do where the service can't be started.
func (s Service) Remedy() string {
	return fmt.Sprintf("%s: set %s to a server (example: %s), or install it (Debian: apt-get install %s)",
		s, s.Variable(), s.standard()[0], strings.Join(s.Packages(), " "))
}

// programs returns the names of the programs that the service needs.
func (s Service) programs() []string {
	return [...][]string{{"initdb", "postgres"}, {"mariadb-install-db", "mariadbd"}, {"redis-server"}}[s]
}

// Installed returns an error that names a program that is missing.
func (s Service) Installed() error {
	for _, name := range s.programs() {
		if _, err := program("", name); err != nil {
			return err
		}
	}
	return nil
}

// program finds a program in dir; if that is "", on the PATH or where
// distributions keep servers.
func program(dir, name string) (string, error) {
	found := []string{filepath.Join(dir, name)}
	if dir == "" {
		found, _ = filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
		slices.Sort(found)
		slices.Reverse(found) // the newest first
		found = append(found, "/usr/sbin/"+name, "/usr/local/sbin/"+name, "/usr/libexec/"+name)
		if path, err := exec.LookPath(name); err == nil {
			found = append(found, path)
		}
	}
	for _, path := range found {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("no program %q", name)
}

// prepare makes the server's data, for the user that will own it.
func (s *Server) prepare() error {
	data := filepath.Join(s.dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		return err
	}
	owner, err := s.Service.owner()
	if err != nil {
		return err
	}
	if owner != nil {
		for _, path := range []string{s.dir, data} {
			if err := chown(path, owner); err != nil {
				return err
			}
		}
	}
	var args []string
	switch s.Service {
	case PostgreSQL:
		args = []string{"initdb", "--pgdata", data, "--username", "postgres", "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync"}
	case MariaDB:
		args = []string{"mariadb-install-db", "--no-defaults", "--datadir=" + data, "--auth-root-authentication-method=normal", "--skip-test-db"}
	case Redis:
		return nil
	}
	cmd, err := s.as(owner, args)
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = s.log, s.log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	return nil
}

// command returns the server's process, ready to start.
func (s *Server) command() (*exec.Cmd, error) {
	owner, err := s.Service.owner()
	if err != nil {
		return nil, err
	}
	data, at := filepath.Join(s.dir, "data"), strconv.Itoa(s.port)
	switch s.Service {
	case PostgreSQL:
		return s.as(owner, []string{
			"postgres", "-D", data, "-p", at, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
			"-c", "fsync=off", "-c", "max_connections=300",
		})
	case MariaDB:
		return s.as(owner, []string{
			"mariadbd", "--no-defaults", "--datadir=" + data, "--port=" + at, "--bind-address=127.0.0.1",
			"--socket=" + filepath.Join(s.dir, "s"), "--pid-file=" + filepath.Join(s.dir, "pid"), "--innodb-flush-log-at-trx-commit=2", "--max-connections=300",
			"--character-set-server=utf8mb4", "--collation-server=utf8mb4_general_ci",
		})
	default:
		return s.as(owner, []string{"redis-server", "--port", at, "--bind", "127.0.0.1", "--save", "", "--dir", data})
	}
}

// as returns a command that runs as owner, or as this user if that is nil. It
// ends when this process does.
func (s *Server) as(owner *user.User, args []string) (*exec.Cmd, error) {
	path, err := program(s.programs, args[0])
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, args[1:]...)
	cmd.Dir = s.dir
	return cmd, confine(cmd, owner)
}

// owner returns who the server runs as: nil is this user. PostgreSQL and
// MariaDB refuse root.
func (s Service) owner() (*user.User, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{[...]string{"postgres", "mysql", "redis"}[s], "nobody"} {
		if owner, err := user.Lookup(name); err == nil {
			return owner, nil
		}
	}
	return nil, errors.New("no user to run it as: it refuses root")
}

func chown(path string, owner *user.User) error {
	uid, err := strconv.Atoi(owner.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(owner.Gid)
	if err != nil {
		return err
	}
	return os.Chown(path, uid, gid)
}
