package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/gorm-aftercommit/aftercommit/outbox"
)

// write shows v: as JSON, or as human does it.
func (t *tree) write(c *cobra.Command, v any, human func(w io.Writer)) error {
	if t.json {
		return json.NewEncoder(c.OutOrStdout()).Encode(v)
	}
	out := bufio.NewWriter(c.OutOrStdout())
	human(out)
	return out.Flush()
}

// table writes rows below a head, in columns.
func table(w io.Writer, head string, rows [][]string) {
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(columns, strings.Join(strings.Fields(head), "\t"))
	for _, row := range rows {
		for i := range row {
			if row[i] = clean(row[i], 60); row[i] == "" {
				row[i] = "-"
			}
		}
		fmt.Fprintln(columns, strings.Join(row, "\t"))
	}
	_ = columns.Flush() // w keeps its error
}

// clean returns text of a row for a terminal: nothing in it moves the cursor,
// and at most so many characters are shown, 0 for all.
func clean(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
	if runes := []rune(text); most > 0 && len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}

// since is how long ago a time was, or how far it is ahead.
func since(at *time.Time) string {
	if at == nil {
		return ""
	}
	d := time.Since(*at).Round(time.Second)
	if d < 0 {
		return "in " + outbox.Age(-d).String()
	}
	return outbox.Age(d).String() + " ago"
}

// plural returns a number and what it is of.
func plural(n fmt.Stringer, one, many string) string {
	if n.String() == "1" {
		return "1 " + one
	}
	return n.String() + " " + many
}

// number is a [fmt.Stringer].
type number int

// String returns the number with commas.
func (n number) String() string { return outbox.Gauge{N: int64(n)}.String() }

// terminal reports whether a person is at a stream.
func terminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && isatty.IsTerminal(file.Fd())
}

// errUnconfirmed says that nobody said yes.
var errUnconfirmed = errors.New("not confirmed, nothing was done: add --yes")

// confirm asks whether to do something, unless the answer is given.
func confirm(c *cobra.Command, yes bool, what string) error {
	if yes {
		return nil
	}
	if !terminal(c.InOrStdin()) {
		return fmt.Errorf("%s: %w", what, errUnconfirmed)
	}
	fmt.Fprintf(c.ErrOrStderr(), "%s? [y/N] ", what)
	answer, err := bufio.NewReader(c.InOrStdin()).ReadString('\n')
	if err != nil && answer == "" {
		return fmt.Errorf("%s: %w", what, errUnconfirmed)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	default:
		return fmt.Errorf("%s: %w", what, errUnconfirmed)
	}
}

// progress shows how far a command is, on a terminal.
type progress struct {
	out   io.Writer // nil for none
	total outbox.Count
}

func newProgress(c *cobra.Command, total outbox.Count) *progress {
	if !terminal(c.ErrOrStderr()) {
		return &progress{}
	}
	return &progress{c.ErrOrStderr(), total}
}

// at shows that so many are done.
func (p *progress) at(n int) {
	if p.out == nil {
		return
	}
	const width = 30
	full := width
	if p.total.N > 0 {
		full = min(int(int64(n)*width/p.total.N), width)
	}
	fmt.Fprintf(p.out, "\r[%s%s] %s of %s", strings.Repeat("#", full), strings.Repeat(".", width-full), number(n), p.total)
}

// end ends the line.
func (p *progress) end() {
	if p.out != nil {
		fmt.Fprintln(p.out)
	}
}
