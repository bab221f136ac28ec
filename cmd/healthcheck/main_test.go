package main

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// It answers at once because it is small: it links no driver, no Redis, and
// nothing that speaks to a network (68).
func TestDependencies(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := strings.Fields(string(out))
	if len(packages) < 10 {
		t.Fatalf("go list -deps shows %q: that can't be all", packages)
	}
	bad := regexp.MustCompile(`^(net|crypto|database/sql|log|testing|embed)(/|$)|gorm\.io|sqlite|mysql|pgx|redis`)
	for _, name := range packages {
		if bad.MatchString(strings.TrimPrefix(name, "github.com/gorm-aftercommit/aftercommit/")) {
			t.Errorf("it links %s", name)
		}
		if strings.Contains(name, ".") && !strings.HasPrefix(name, "github.com/gorm-aftercommit/aftercommit/") && !strings.HasPrefix(name, "vendor/") {
			t.Errorf("it links %s, which is not of the standard library", name)
		}
	}
}

// The command is what package healthcheck has.
func TestCommand(t *testing.T) {
	path := filepath.Join(t.TempDir(), "healthcheck")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	c := exec.Command(path)
	c.Env = []string{"RELIABLE_HEARTBEAT_FILE=/nowhere/heartbeat"}
	out, err := c.CombinedOutput()
	if c.ProcessState.ExitCode() != 1 || string(out) != "unhealthy: /nowhere/heartbeat is not there: no worker runs that writes it; it is what RELIABLE_HEARTBEAT_FILE names\n" {
		t.Errorf("healthcheck: %v, %q, want 1 and the reason", err, out)
	}
}
