package testdb

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Pooler is a throw-away PgBouncer in transaction mode, in front of a
// PostgreSQL: each transaction gets the session of the server that is free.
type Pooler struct {
	server string // URL of the PostgreSQL
	url    string // the same by way of the pooler
	dir    string
	cmd    *exec.Cmd
	log    *logBuffer
	end    chan struct{} // closed when the process has ended
}

// PoolerVariable is the environment variable that, if it is the URL of a
// PgBouncer in front of the PostgreSQL of the tests, has [New] make databases
// behind it.
const PoolerVariable = "RELIABLE_TEST_POOLER_URL"

// PoolerPackage is the Debian package that holds PgBouncer.
const PoolerPackage = "pgbouncer"

// PoolerDirectory is how the names of folders of throw-away poolers begin.
const PoolerDirectory = "reliable-PgBouncer-"

// PoolerInstalled returns an error that says how to install PgBouncer, unless
// it is.
func PoolerInstalled() error {
	if _, err := program("", "pgbouncer"); err != nil {
		return fmt.Errorf("%w: install PgBouncer (Debian: apt-get install %s)", err, PoolerPackage)
	}
	return nil
}

// StartPooler starts a PgBouncer in front of the PostgreSQL of the tests. It is
// stopped with the test.
func StartPooler(t testing.TB) *Pooler {
	t.Helper()
	p, err := LaunchPooler(server(t, PostgreSQL))
	if err != nil {
		t.Fatalf("testdb: %v", err)
	}
	t.Cleanup(p.Stop)
	return p
}

// LaunchPooler is StartPooler for a program. The caller must call Stop.
func LaunchPooler(server string) (*Pooler, error) {
	if err := PoolerInstalled(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", PoolerDirectory)
	if err != nil {
		return nil, err
	}
	p := &Pooler{server: server, dir: dir, log: new(logBuffer)}
	if err := p.run(); err != nil {
		p.Stop()
		return nil, fmt.Errorf("start a throw-away PgBouncer: %w\n%s", err, p.log.tail())
	}
	return p, nil
}

// run writes the configuration, starts the process and waits until it answers.
func (p *Pooler) run() error {
	at, err := url.Parse(p.server)
	if err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	login := fmt.Sprintf("host=%s port=%s user=%s", at.Hostname(), at.Port(), at.User.Username())
	if password, ok := at.User.Password(); ok {
		login += " password=" + password
	}
	config := filepath.Join(p.dir, "pgbouncer.ini")
	text := fmt.Sprintf("[databases]\n* = %s\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir =\nauth_type = any\n"+
		"pool_mode = transaction\ndefault_pool_size = 8\nmax_client_conn = 500\nserver_tls_sslmode = prefer\n", login, port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	owner, err := PostgreSQL.owner() // it refuses root, too
	if err != nil {
		return err
	}
	if owner != nil {
		for _, path := range []string{p.dir, config} {
			if err := chown(path, owner); err != nil {
				return err
			}
		}
	}
	path, err := program("", "pgbouncer")
	if err != nil {
		return err
	}
	p.cmd = exec.Command(path, config)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = p.dir, p.log, p.log
	if err := confine(p.cmd, owner); err != nil {
		return err
	}
	through := *at
	through.Host = fmt.Sprintf("127.0.0.1:%d", port)
	query := through.Query()
	query.Set("sslmode", "disable")
	query.Set("default_query_exec_mode", "exec") // what is prepared is known to one session of the server only
	through.RawQuery = query.Encode()
	p.url = through.String()
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.end = make(chan struct{})
	go func() { _ = p.cmd.Wait(); close(p.end) }()
	deadline := time.After(startWithin)
	for {
		err := pingSQL("pgx", p.url)
		if err == nil {
			return nil
		}
		select {
		case <-p.end:
			return errors.New("it ended: " + p.cmd.ProcessState.String())
		case <-deadline:
			return fmt.Errorf("no answer within %s: %w", startWithin, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// URL returns the address of the pooler, for PoolerVariable.
func (p *Pooler) URL() string { return p.url }

// New makes an empty database. It is no schema, as New's: the pooler does not
// let a search_path through.
func (p *Pooler) New(t testing.TB) DB {
	t.Helper()
	name := newName()
	admin(t, "pgx", p.server, `CREATE DATABASE `+name)
	t.Cleanup(func() { admin(t, "pgx", p.server, `DROP DATABASE `+name+` WITH (FORCE)`) })
	u, err := url.Parse(p.url)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return DB{Postgres, u.String()}
}

// Stop ends the pooler.
func (p *Pooler) Stop() {
	if p.end != nil {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.end:
		case <-time.After(5 * time.Second):
			_ = p.cmd.Process.Kill()
			<-p.end
		}
	}
	_ = os.RemoveAll(p.dir)
}
