package chaos

import (
	"fmt"
	"os"
	"strings"
)

// Outcome is what a producer knows of an operation.
type Outcome string

// The outcomes. Nothing is known of an operation in which the producer died.
const (
	Acked   Outcome = "acked"
	Undone  Outcome = "undone"
	Unknown Outcome = "unknown"
	Died    Outcome = "died"
)

// Operation is what a journal says of one.
type Operation struct {
	Op      int64
	Writes  int
	Target  int64
	Deletes int
	Program string
	Outcome Outcome
	Err     string
}

// ReadJournal reads what producers wrote, in order.
func ReadJournal(path string) ([]Operation, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var operations []Operation
	at := make(map[int64]int)
	for line := range strings.Lines(string(text)) {
		o := Operation{Outcome: Died}
		word, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if word == "intent" {
			if _, err := fmt.Sscan(rest, &o.Op, &o.Writes, &o.Target, &o.Deletes, &o.Program); err != nil {
				return nil, fmt.Errorf("journal: %q: %w", line, err)
			}
			at[o.Op] = len(operations)
			operations = append(operations, o)
			continue
		}
		if _, err := fmt.Sscan(rest, &o.Op); err != nil {
			return nil, fmt.Errorf("journal: %q: %w", line, err)
		}
		i, ok := at[o.Op]
		if !ok {
			return nil, fmt.Errorf("journal: %q: no intent", line)
		}
		operations[i].Outcome = Outcome(word)
		_, operations[i].Err, _ = strings.Cut(rest, " ")
	}
	return operations, nil
}
