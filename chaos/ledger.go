package chaos

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Ledger is what processes write down of what they do, all in one file. Each
// line is one write, which survives the SIGKILL of its process. A line that was
// cut short is told by its missing full stop, and did not happen.
//
//	claiming  AT PROCESS                             the worker asks for entries
//	idle      AT PROCESS                             it got none
//	claim     AT PROCESS TOKEN BEFORE IDS            it holds entries, asked for at BEFORE
//	start     AT PROCESS TOKEN ENTRY CALLBACK ATTEMPT SUBJECT
//	end       AT PROCESS TOKEN ENTRY CALLBACK ATTEMPT ok|failed
//	finishing AT PROCESS TOKEN IDS                   outcomes are about to be made durable
//	finished  AT PROCESS TOKEN IDS                   entries of which nothing is owed any more, durably
//	releasing AT PROCESS TOKEN IDS                   entries are about to be given back
//	beat      AT PROCESS SENT                        the lease lasts from SENT on
//	retried   AT PROCESS IDS                         an operator lets dead entries begin anew
//	discarded AT PROCESS IDS                         an operator gives entries up
//	exit      AT PROCESS killed|clean|failed         what the test saw of the end of a worker
//	fault     AT PROCESS WHAT                        what the test did
//
// AT is CLOCK_MONOTONIC in nanoseconds, one clock for all processes of a
// machine. PROCESS is a number that the test gives to each process.
type Ledger struct {
	file    *os.File
	process int
}

// OpenLedger opens a ledger for one process. The caller must call Close.
func OpenLedger(path string, process int) (*Ledger, error) {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	return &Ledger{file, process}, err
}

// Close closes the file.
func (l *Ledger) Close() error { return l.file.Close() }

// Write writes a line about this process, at the present time.
func (l *Ledger) Write(kind string, fields ...any) error {
	return l.WriteOf(l.process, kind, fields...)
}

// WriteOf writes a line about another process.
func (l *Ledger) WriteOf(process int, kind string, fields ...any) error {
	b := make([]byte, 0, 128)
	b = fmt.Appendf(b, "\n%s %d %d ", kind, Now(), process)
	for _, field := range fields {
		if ids, ok := field.([]int64); ok {
			for i, id := range ids {
				if i > 0 {
					b = append(b, ',')
				}
				b = strconv.AppendInt(b, id, 10)
			}
			b = append(b, ' ')
			continue
		}
		b = fmt.Append(b, field)
		b = append(b, ' ')
	}
	_, err := l.file.Write(append(b, ".\n"...))
	return err
}

// Now returns CLOCK_MONOTONIC.
func Now() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err) // every system has that clock
	}
	return t.Nano()
}

// At returns when, by CLOCK_MONOTONIC, a time was that this process took. It is
// not later than that.
func At(t time.Time) int64 {
	now := Now()
	return now - int64(time.Since(t))
}

// line is a line of a ledger, split.
type line struct {
	kind   string
	at     int64
	worker int
	fields []string
	err    error
}

func (l *line) number(i int) int64 {
	if i >= len(l.fields) {
		l.err = fmt.Errorf("%s: %d fields", l.kind, len(l.fields))
		return 0
	}
	n, err := strconv.ParseInt(l.fields[i], 10, 64)
	if err != nil {
		l.err = err
	}
	return n
}

func (l *line) text(i int) string {
	if i >= len(l.fields) {
		l.err = fmt.Errorf("%s: %d fields", l.kind, len(l.fields))
		return ""
	}
	return l.fields[i]
}

// ids reads a list of ids. An empty one leaves no field.
func (l *line) ids(i int) []int64 {
	if i >= len(l.fields) {
		return nil
	}
	parts := strings.Split(l.fields[i], ",")
	ids := make([]int64, len(parts))
	for j, part := range parts {
		id, err := strconv.ParseInt(part, 10, 64)
		if err != nil {
			l.err = err
		}
		ids[j] = id
	}
	return ids
}

// parse splits a line. It returns false for an empty line and for one that a
// killed process could not end.
func parse(text string) (line, bool) {
	words := strings.Fields(text)
	if len(words) < 4 || words[len(words)-1] != "." {
		return line{}, false
	}
	at, err := strconv.ParseInt(words[1], 10, 64)
	worker, err2 := strconv.Atoi(words[2])
	if err != nil || err2 != nil {
		return line{}, false
	}
	return line{kind: words[0], at: at, worker: worker, fields: words[3 : len(words)-1]}, true
}
