package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// TestMain lets the demo start this program as its worker.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "worker" {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// The demo keeps its promise on every database, and leaves nothing behind.
func TestDemo(t *testing.T) {
	verdict := regexp.MustCompile(`^demo: committed=([1-9]\d*) replayed=(\d+) lost=0 phantom=0 duplicates=\d+$`)
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		address := ""
		if d != testdb.SQLite {
			address = testdb.New(t, d).URL
		}
		t.Setenv("TMPDIR", t.TempDir())
		var out bytes.Buffer
		err := runDemo(t.Context(), &out, address, size{customers: 2, visits: 2, pace: time.Millisecond})
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		found := verdict.FindStringSubmatch(lines[len(lines)-1])
		if err != nil || found == nil || found[1] != found[2] {
			t.Errorf("runDemo() = %v, want as many replayed as committed in\n%s", err, out.String())
		}
		if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
			t.Errorf("%v are left, %v", left, err)
		}
	})
}

// Mistakes in how the program is started name the mistake and the way out.
func TestMistakes(t *testing.T) {
	tests := []struct {
		name, url string
		args      []string
		says      string
	}{
		{"mode", "", []string{"sell"}, "usage:"},
		{"scheme", "oracle://x/y", nil, "DATABASE_URL"},
		{"no server", "postgres://127.0.0.1:1/none", nil, "DATABASE_URL"},
		{"no url", "", []string{"write"}, "DATABASE_URL"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("DATABASE_URL", test.url)
			var stderr bytes.Buffer
			if code := run(test.args, io.Discard, &stderr); code != 2 || !strings.Contains(stderr.String(), test.says) {
				t.Errorf("run() = %d, want 2 and a message with %q: %s", code, test.says, &stderr)
			}
		})
	}
}

// Interrupted, the demo leaves no worker and no file behind.
func TestInterrupt(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := runDemo(ctx, io.Discard, "", fullSize()); err == nil {
		t.Error("runDemo() = nil after an interrupt")
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("%v are left, %v", left, err)
	}
}
