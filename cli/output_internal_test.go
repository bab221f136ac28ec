package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/gorm-aftercommit/aftercommit/outbox"
)

// What stands in a row moves no cursor, and makes no line of its own.
func TestClean(t *testing.T) {
	if got, want := clean("a\x1b[31mred\r\nb\tü\u202e", 0), "a�[31mred  b ü�"; got != want {
		t.Errorf("clean() = %q, want %q", got, want)
	}
	if got := clean(strings.Repeat("ü", 80), 60); got != strings.Repeat("ü", 59)+"…" {
		t.Errorf("clean() = %q, want 59 of them", got)
	}
	var out bytes.Buffer
	table(&out, "A B", [][]string{{"1\n2", ""}})
	if out.String() != "A    B\n1 2  -\n" {
		t.Errorf("table() = %q", out.String())
	}
}

func TestProgress(t *testing.T) {
	var out bytes.Buffer
	p := &progress{&out, outbox.Count{N: 2000}}
	p.at(500)
	p.at(4000) // more came meanwhile
	p.end()
	if want := "\r[#######.......................] 500 of 2000\r[##############################] 4,000 of 2000\n"; out.String() != want {
		t.Errorf("progress = %q, want %q", out.String(), want)
	}
	(&progress{}).at(1) // no terminal
}
