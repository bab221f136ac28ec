package cli_test

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// mute returns the address of a server that takes connections and never says a
// word, and a channel that is told of each of them.
func mute(t *testing.T) (address string, taken <-chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	seen, ended := make(chan struct{}, 100), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer func() { _ = conn.Close() }()
			seen <- struct{}{}
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-ended })
	return l.Addr().String(), seen
}

// A worker whose database swallows what it is sent lives while it starts, and
// ends with an error once that has taken too long (69).
func TestDatabaseDoesNotAnswer(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		if d == testdb.SQLite {
			return // has no server
		}
		t.Parallel() // it only waits
		address, taken := mute(t)
		path := filepath.Join(t.TempDir(), "heartbeat")
		var out strings.Builder
		c := exec.Command("shop", "worker")
		c.Env = append(os.Environ(), "DATABASE_URL="+string(d)+"://ann:tiger@"+address+"/shop", "RELIABLE_START_TIMEOUT=1s", "RELIABLE_HEARTBEAT_FILE="+path)
		c.Stderr = &out
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		<-taken
		if line, err := exec.Command("shop", "healthcheck", path).Output(); err != nil || !strings.Contains(string(line), "is starting") {
			t.Errorf("healthcheck: %v, %q while it starts, want that it lives", err, line)
		}
		var exit *exec.ExitError
		if err := c.Wait(); !errors.As(err, &exit) || exit.ExitCode() != worker.ExitFailure {
			t.Errorf("the worker ended with %v, want exit code %d", err, worker.ExitFailure)
		}
		if text := out.String(); !strings.Contains(text, "not started within 1s (RELIABLE_START_TIMEOUT)") || strings.Contains(text, "tiger") {
			t.Errorf("it said\n%s\nwant the variable and the time, and no password", text)
		}
	})
}
