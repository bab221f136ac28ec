package servers

import (
	"fmt"
	"path/filepath"
	"strconv"
	"syscall"
)

// recipe says how a kind of server is made and run. Its commands run in the
// server's directory, where the data are in "data".
type recipe struct {
	create   []string                // fills the data directory; nil if the server does
	serve    func(port int) []string // stays in the foreground
	url      string                  // with %d for the port
	users    []string                // who may run it for root, best first
	shutdown syscall.Signal          // stops it in order
	discard  syscall.Signal          // stops it for good
}

// recipe returns the recipe for a kind, or an error if programs are missing.
func (m Machine) recipe(k Kind) (*recipe, error) {
	switch k {
	case Postgres:
		return m.postgres()
	case MariaDB:
		return m.mariadb()
	default:
		return m.redis()
	}
}

// The settings give up what only a crash of the whole machine would test; what
// is committed survives a kill of the server.

func (m Machine) postgres() (*recipe, error) {
	initdb, err := m.look("initdb")
	if err != nil {
		return nil, err
	}
	if initdb, err = filepath.EvalSymlinks(initdb); err != nil {
		return nil, err
	}
	postgres, err := Machine{[]string{filepath.Dir(initdb)}}.look("postgres") // of the same version
	if err != nil {
		return nil, err
	}
	return &recipe{
		create: []string{initdb, "-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"},
		serve: func(port int) []string {
			return []string{
				postgres, "-D", "data", "-p", strconv.Itoa(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
				"-c", "fsync=off", "-c", "max_connections=300", "-c", "dynamic_shared_memory_type=mmap",
			}
		},
		url:      "postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable",
		users:    []string{"postgres", "nobody"},
		shutdown: syscall.SIGINT,
		discard:  syscall.SIGQUIT, // SIGKILL would leave shared memory
	}, nil
}

func (m Machine) mariadb() (*recipe, error) {
	install, err := m.look("mariadb-install-db", "mysql_install_db")
	if err != nil {
		return nil, err
	}
	mariadbd, err := m.look("mariadbd", "mysqld")
	if err != nil {
		return nil, err
	}
	return &recipe{
		create: []string{install, "--no-defaults", "--datadir=data", "--auth-root-authentication-method=normal", "--skip-test-db"},
		serve: func(port int) []string {
			return []string{
				mariadbd, "--no-defaults", "--datadir=data", "--port=" + strconv.Itoa(port), "--bind-address=127.0.0.1", "--socket=socket",
				"--pid-file=pid", "--character-set-server=utf8mb4", "--collation-server=utf8mb4_general_ci",
				"--innodb-flush-log-at-trx-commit=2", "--max-connections=300",
			}
		},
		url:      "mysql://root@127.0.0.1:%d/",
		users:    []string{"mysql", "nobody"},
		shutdown: syscall.SIGTERM,
		discard:  syscall.SIGKILL,
	}, nil
}

func (m Machine) redis() (*recipe, error) {
	redis, err := m.look("redis-server")
	if err != nil {
		return nil, fmt.Errorf("Redis: %w", err)
	}
	return &recipe{
		serve: func(port int) []string {
			return []string{redis, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", "data", "--save", "", "--appendonly", "yes"}
		},
		url:      "redis://127.0.0.1:%d/0",
		users:    []string{"redis", "nobody"},
		shutdown: syscall.SIGTERM,
		discard:  syscall.SIGKILL,
	}, nil
}
