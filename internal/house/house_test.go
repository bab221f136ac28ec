// Package house holds the tests of the rules that hold for all packages.
package house

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/gorm-aftercommit/aftercommit"

// dependencies returns the packages that a package links, but for the standard
// library's.
func dependencies(t *testing.T, name string) []string {
	t.Helper()
	list := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", module+"/"+name)
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}

// The core is what every application imports: GORM, what GORM pulls in, and
// nothing else. What is built on it links neither a driver nor Redis.
func TestDependencies(t *testing.T) {
	gorm := []string{"gorm.io/gorm", "github.com/jinzhu/", "golang.org/x/text"}
	core := append([]string{module + "/reliable", module + "/internal/"}, gorm...)
	tests := []struct {
		name    string
		allowed []string
	}{
		{"reliable", core},
		{"processors", append([]string{module + "/processors", module + "/outbox"}, core...)},
		{"outbox", append([]string{module + "/outbox"}, core...)},
		{"outbox/doctor", append([]string{
			module + "/outbox", module + "/migrations", "github.com/pressly/goose", "github.com/mfridman/interpolate", "github.com/sethvargo/go-retry", "go.uber.org/multierr", "golang.org/x/",
		}, core...)},
		{"reliabletest", append([]string{module + "/reliabletest"}, core...)},
		{"cli", append([]string{
			module + "/cli", module + "/outbox", module + "/migrations", module + "/worker", module + "/healthcheck", module + "/processors", "github.com/caarlos0/env", "github.com/spf13/", "github.com/mattn/go-isatty",
			"github.com/pressly/goose", "github.com/mfridman/interpolate", "github.com/sethvargo/go-retry", "go.uber.org/multierr", "golang.org/x/",
		}, core...)},
		{"processors/redislock", append([]string{module + "/processors", module + "/outbox", "github.com/go-redsync/", "github.com/redis/", "github.com/cespare/xxhash", "go.uber.org/atomic", "golang.org/x/sys"}, core...)},
		{"contrib/reliablepgx", append([]string{module + "/contrib/reliablepgx", "github.com/jackc/", "golang.org/x/"}, core...)},
		{"contrib/reliabledatadog", append([]string{module + "/contrib/reliabledatadog", "github.com/DataDog/datadog-go", "github.com/Microsoft/go-winio", "golang.org/x/"}, core...)},
		{"contrib/reliablesentry", append([]string{module + "/contrib/reliablesentry", "github.com/getsentry/sentry-go", "golang.org/x/"}, core...)},
		{"contrib/reliableotel", append([]string{
			module + "/contrib/reliableotel", "go.opentelemetry.io/otel", "go.opentelemetry.io/auto/sdk", "github.com/go-logr/", "github.com/cespare/xxhash",
		}, core...)},
		{"worker", append([]string{module + "/worker", module + "/healthcheck", module + "/processors", module + "/outbox", "github.com/caarlos0/env"}, core...)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			found := dependencies(t, test.name)
			if len(found) < 3 {
				t.Fatalf("go list -deps shows %q: that can't be all", found)
			}
			for _, path := range found {
				allowed := false
				for _, prefix := range test.allowed {
					allowed = allowed || strings.HasPrefix(path, prefix)
				}
				if !allowed || strings.HasPrefix(path, module+"/internal/testdb") || strings.HasPrefix(path, module+"/internal/oracle") {
					t.Errorf("%s links %s", test.name, path)
				}
			}
		})
	}
}

// A file that is longer than this has a line "// long: why".
const maxLines = 300

func TestFileLength(t *testing.T) {
	files := 0
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		files++
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if n := bytes.Count(text, []byte("\n")); n > maxLines && !bytes.Contains(text, []byte("\n// long: ")) {
			t.Errorf("%s has %d lines, want at most %d or a line \"// long: why\"", path, n, maxLines)
		}
		return nil
	})
	if err != nil || files < 50 {
		t.Fatalf("%d files, %v; want all of the module's", files, err)
	}
}

// The README's first block of code is an Example that runs: each of its lines
// stands there.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("../../reliable/example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "```go\n")
	code, _, _ := strings.Cut(rest, "```")
	known := make(map[string]bool)
	for line := range strings.Lines(string(example)) {
		known[squeeze(line)] = true
	}
	lines := 0
	for line := range strings.Lines(code) {
		lines++
		if !known[squeeze(line)] {
			t.Errorf("README has the line %q, reliable/example_test.go has not", line)
		}
	}
	if lines < 20 {
		t.Fatalf("the README's code has %d lines: that can't be all", lines)
	}
}

// squeeze returns a line without its indentation and alignment.
func squeeze(line string) string { return strings.Join(strings.Fields(line), " ") }
