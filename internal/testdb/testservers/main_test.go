package main

import (
	"os"
	"strings"
	"testing"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// The command gets servers that answer, on a machine where none runs, and its
// exit code is passed on.
func TestRun(t *testing.T) {
	t.Setenv(testdb.Throwaway, "1")
	for _, service := range testdb.Services() {
		t.Setenv(service.Variable(), "")
	}
	out := t.TempDir() + "/urls"
	if code := run([]string{"--", "sh", "-c", "echo $RELIABLE_TEST_POSTGRES_URL $RELIABLE_TEST_MYSQL_URL $RELIABLE_TEST_REDIS_URL > " + out + "; exit 7"}); code != 7 {
		t.Errorf("run() = %d, want the command's 7", code)
	}
	urls, err := os.ReadFile(out)
	if err != nil || len(strings.Fields(string(urls))) != 3 {
		t.Fatalf("the command got %q, %v, want three URLs", urls, err)
	}
	for i, service := range testdb.Services() {
		t.Setenv(service.Variable(), strings.Fields(string(urls))[i])
		if _, err := testdb.Find(service); err == nil {
			t.Errorf("%s answers after the command's end", service)
		}
		t.Setenv(service.Variable(), "")
	}
	if code := run([]string{"sh", "-c", "kill -TERM $$"}); code != 128+15 {
		t.Errorf("run() = %d after the command died of SIGTERM, want 143", code)
	}
	if code := run([]string{"-postgres", "9", "--", "true"}); code != 1 {
		t.Errorf("run() = %d with a version that can't be had, want 1", code)
	}
	t.Setenv(testdb.PostgreSQL.Variable(), "postgres://127.0.0.1:1/none")
	if code := run([]string{"true"}); code != 1 {
		t.Errorf("run() = %d with a variable that names no server, want 1", code)
	}
	for _, args := range [][]string{nil, {"-pooler", "-postgres", "15", "--", "true"}} {
		if code := run(args); code != 2 {
			t.Errorf("run(%q) = %d, want 2", args, code)
		}
	}
}

// Where programs are missing and can't be installed, one message says what to
// do about each service.
func TestNothingToInstallWith(t *testing.T) {
	var missing []testdb.Service
	for _, service := range testdb.Services() {
		if service.Installed() != nil {
			missing = append(missing, service)
		}
		if remedy := service.Remedy(); !strings.Contains(remedy, service.Variable()) || !strings.Contains(remedy, "apt-get install") {
			t.Errorf("Remedy() = %q, want the variable and the package", remedy)
		}
	}
	t.Setenv("PATH", t.TempDir())
	lacking := len(missing) > 0 || testdb.PoolerInstalled() != nil
	if err := install(missing); (err != nil) != lacking {
		t.Errorf("install(%v) = %v", missing, err)
	}
}
