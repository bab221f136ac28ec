package cli_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/gorm-aftercommit/aftercommit/cli"
)

// leaves returns the commands that do something, by what calls them.
func leaves(c *cobra.Command, path string) (names []string) {
	if !c.HasSubCommands() {
		return []string{path}
	}
	for _, sub := range c.Commands() {
		names = append(names, leaves(sub, strings.TrimSpace(path+" "+sub.Name()))...)
	}
	return names
}

// The scripts run every command: its help, with wrong flags, and for machines.
func TestScriptsCoverEveryCommand(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var scripts strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		scripts.Write(text)
	}
	names := leaves(cli.Command(open), "")
	if len(names) < 15 {
		t.Fatalf("there are the commands %q: that can't be all", names)
	}
	for _, name := range names {
		for what, pattern := range map[string]string{
			"its help":    `exec shop ` + name + ` (--help|-h)\n`,
			"wrong flags": `code 2 ` + name + ` .*--?\w`,
			"its JSON":    `(exec|sh -c '|code \d) ?shop ` + name + `( .*)? --json\b`,
		} {
			if what == "its JSON" && name == "worker" {
				pattern = `env LOG_FORMAT=json\n(.*\n)*exec shop worker` // it writes a log
			}
			if !regexp.MustCompile(`(?m)^(! )?.*` + pattern).MatchString(scripts.String()) {
				t.Errorf("no script runs %s: %s; want %s", name, what, pattern)
			}
		}
	}
}
