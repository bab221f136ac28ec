package house

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// docs/parity.md answers each line that it has to, once, in one of four ways,
// and what it names is there.
func TestParity(t *testing.T) {
	text, err := os.ReadFile("../../docs/parity.md")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^\| ([A-Z]\d+) \| (.+?) \| (.+?) \| ?(.*?) ?\|$`)
	file := regexp.MustCompile("`([a-z0-9_]+(?:/[A-Za-z0-9_.-]+)+)`")
	link := regexp.MustCompile(`\]\(([^)]+)\)`)
	states := []string{"done", "differently", "not for Go", "not done"}
	seen := make(map[string]int)
	for _, m := range line.FindAllStringSubmatch(string(text), -1) {
		number, state, where := m[1], m[3], m[4]
		seen[number]++
		if !slices.Contains(states, state) {
			t.Errorf("%s is %q, want one of %q", number, state, states)
		}
		files, links := file.FindAllStringSubmatch(where, -1), link.FindAllStringSubmatch(where, -1)
		if (state == "done" || state == "differently") && len(files)+len(links) == 0 && !strings.Contains(where, "see R") {
			t.Errorf("%s is %s, but names neither a file nor a document", number, state)
		}
		for _, f := range files {
			if _, err := os.Stat(filepath.Join("../..", f[1])); err != nil {
				t.Errorf("%s names %s: %v", number, f[1], err)
			}
		}
		for _, l := range links {
			if err := resolves("../../docs", l[1]); err != nil {
				t.Errorf("%s links to %s: %v", number, l[1], err)
			}
		}
	}
	for prefix, n := range map[string]int{"R": 68, "T": 29} {
		for i := 1; i <= n; i++ {
			number := fmt.Sprint(prefix, i)
			if seen[number] != 1 {
				t.Errorf("%s is answered %d times, want once", number, seen[number])
			}
			delete(seen, number)
		}
	}
	for number := range seen {
		t.Errorf("%s: there is no such line", number)
	}
}

// The documents' links to each other lead somewhere.
func TestLinksOfDocuments(t *testing.T) {
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d documents, %v", len(files), err)
	}
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, name := range append(files, "../../README.md") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(prose(string(text)), -1) {
			if err := resolves(filepath.Dir(name), m[1]); err != nil {
				t.Errorf("%s links to %s: %v", filepath.Base(name), m[1], err)
			}
		}
	}
}

// prose returns a document without its blocks of code.
func prose(text string) string {
	return regexp.MustCompile("(?s)```.*?```").ReplaceAllString(text, "")
}

// resolves reports a link that leads nowhere: no such file, or no such heading.
func resolves(dir, link string) error {
	if strings.Contains(link, "://") {
		return nil
	}
	name, anchor, _ := strings.Cut(link, "#")
	if name == "" {
		return nil
	}
	name = filepath.Join(dir, name)
	if _, err := os.Stat(name); err != nil || anchor == "" {
		return err
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	times := make(map[string]int)
	for line := range strings.Lines(prose(string(text))) {
		title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " ")
		if !ok || line[0] != '#' {
			continue
		}
		slug := slug(title)
		times[slug]++
		if n := times[slug] - 1; n > 0 {
			slug = fmt.Sprintf("%s-%d", slug, n)
		}
		if slug == anchor {
			return nil
		}
	}
	return fmt.Errorf("no heading for #%s", anchor)
}

// slug returns a heading's anchor.
func slug(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_':
			return unicode.ToLower(r)
		default:
			return -1
		}
	}, strings.TrimSpace(title))
}
