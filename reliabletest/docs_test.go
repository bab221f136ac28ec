package reliabletest_test

import (
	"os"
	"strings"
	"testing"
)

// The code in docs/testing.md is that of the examples, which run.
func TestDocs(t *testing.T) {
	docs, err := os.ReadFile("../docs/testing.md")
	ok(t, err)
	example, err := os.ReadFile("example_test.go")
	ok(t, err)
	known := make(map[string]bool)
	for line := range strings.Lines(string(example)) {
		known[squeeze(line)] = true
	}
	lines := 0
	for i, block := range strings.Split(string(docs), "```") {
		if i%2 == 0 {
			continue
		}
		for line := range strings.Lines(strings.TrimPrefix(block, "go\n")) {
			if line = squeeze(line); line != "" && line != "..." {
				if lines++; !known[line] {
					t.Errorf("docs/testing.md has the line %q, example_test.go has not", line)
				}
			}
		}
	}
	if lines < 12 {
		t.Errorf("the code has %d lines: that can't be all", lines)
	}
}

// squeeze returns a line without its indentation and alignment.
func squeeze(line string) string { return strings.Join(strings.Fields(line), " ") }
