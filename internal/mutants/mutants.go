// Package mutants tests the tests: each mutant is a bug, one that a peer had or
// that this design invites, and names the test that must go red with it.
// "make mutants" runs them all. The tree is not touched: the bug is put in by
// go's -overlay.
//
// The numbers M1 to M24 are those of the list of bugs that the project holds
// its tests against; a mutant without a number was added here.
package mutants

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Mutant is a bug and the test that must find it.
type Mutant struct {
	Name string // M1 to M24, or of its own
	Bug  string // what is wrong with it
	File string // from the module's root, with slashes
	Old  string // occurs once in File
	New  string // what the bug has in its place

	Package string // of the test, from the module's root
	Test    string // the test's name, as for -run
	Only    string // run on this database alone: "postgres", "mariadb" or "sqlite"; empty is all
}

// Verdict is what became of a mutant.
type Verdict struct {
	Mutant  *Mutant
	Red     bool   // the named test failed
	Problem string // it shows nothing: the text is not there, or does not compile
	Took    time.Duration
	Output  string // of go test
}

// Apply returns File with the bug in it.
func (m *Mutant) Apply(root string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(m.File)))
	if err != nil {
		return nil, err
	}
	if n := bytes.Count(text, []byte(m.Old)); n != 1 {
		return nil, fmt.Errorf("%s: %s has the text %d times, want once: it changed, so fit the mutant to it", m.Name, m.File, n)
	}
	return bytes.Replace(text, []byte(m.Old), []byte(m.New), 1), nil
}

// Run runs the mutant's test with the bug in place. dir is for its files.
func (m *Mutant) Run(ctx context.Context, root, dir string) Verdict {
	begun := time.Now()
	v := Verdict{Mutant: m}
	defer func() { v.Took = time.Since(begun) }()
	text, err := m.Apply(root)
	if err != nil {
		v.Problem = err.Error()
		return v
	}
	overlay, err := m.overlay(root, dir, text)
	if err != nil {
		v.Problem = err.Error()
		return v
	}
	v.Output, err = m.test(ctx, root, overlay)
	v.Took = time.Since(begun)
	switch {
	case err == nil:
	case strings.Contains(v.Output, "[build failed]") || strings.Contains(v.Output, "[setup failed]"):
		v.Problem = "it does not compile"
	case !m.failed(v.Output):
		v.Problem = "something else than its test failed"
	default:
		v.Red = true
	}
	return v
}

// Passes runs the mutant's test without the bug: it must pass, or its red shows
// nothing.
func (m *Mutant) Passes(ctx context.Context, root string) error {
	if out, err := m.test(ctx, root, ""); err != nil {
		return fmt.Errorf("%s of %s fails without a bug: %w\n%s", m.Test, m.Package, err, out)
	}
	return nil
}

// failed reports whether the named test failed, or was still running when its
// time was over.
func (m *Mutant) failed(output string) bool {
	top, _, _ := strings.Cut(m.Test, "/")
	name := regexp.QuoteMeta(top)
	return regexp.MustCompile(`(?m)^--- FAIL: `+name+`\b`).MatchString(output) ||
		strings.Contains(output, "panic: test timed out") && regexp.MustCompile(`(?m)^\t+`+name+`\b`).MatchString(output) ||
		regexp.MustCompile(`(?m)^panic: `).MatchString(output)
}

// overlay writes what go's -overlay takes, and returns its path.
func (m *Mutant) overlay(root, dir string, text []byte) (path string, err error) {
	changed := filepath.Join(dir, "changed.go")
	if err := os.WriteFile(changed, text, 0o600); err != nil {
		return "", err
	}
	replace := map[string]map[string]string{"Replace": {filepath.Join(root, filepath.FromSlash(m.File)): changed}}
	encoded, err := json.Marshal(replace)
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, encoded, 0o600)
}

// test runs the named test. The overlay is in GOFLAGS, so that programs that the
// test builds have the bug, too.
func (m *Mutant) test(ctx context.Context, root, overlay string) (output string, err error) {
	top, rest, _ := strings.Cut(m.Test, "/")
	run := "^" + top + "$"
	if rest != "" {
		run += "/" + rest
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-vet=off", "-count=1", "-timeout=4m", "-run", run, "./"+m.Package)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "RAPID_NOFAILFILE=true") // a failure is no find here
	if overlay != "" {
		cmd.Env = append(cmd.Env, "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -overlay="+overlay))
	}
	if m.Only != "" {
		cmd.Env = append(cmd.Env, "RELIABLE_TEST_ONLY="+m.Only)
	}
	out, err := cmd.CombinedOutput()
	if err == nil && bytes.Contains(out, []byte("no tests to run")) {
		err = fmt.Errorf("%s has no test %s", m.Package, m.Test)
	}
	return string(out), err
}
