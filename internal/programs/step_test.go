package programs_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"
)

// step is one operation, or a block of them.
type step struct {
	text  []string // as one would write it; the lines within a block are indented
	run   func(m *machine, db *gorm.DB) error
	holds bool // other steps
}

// op makes a step of one line.
func op(text string, run func(m *machine, db *gorm.DB) error) step {
	return step{text: []string{text}, run: run}
}

// machine runs a program on one database, and notes what its writer sees.
type machine struct {
	lab      *lab
	captured bool // the plugin is installed
	seen     []string
	steps    int
	refused  map[int]error // by step: what the plugin refuses to record
}

func (m *machine) note(format string, args ...any) {
	m.seen = append(m.seen, anonymous(fmt.Sprintf(format, args...)))
}

// run runs a step of a block or a program.
func (m *machine) run(s step, db *gorm.DB) error {
	m.steps++
	m.lab.now = start().Add(time.Duration(m.steps) * time.Second)
	m.note("%s", strings.TrimSpace(s.text[0]))
	number, before := m.steps, len(m.seen)
	err, refused := m.refused[number]
	if !refused {
		err = s.run(m, db)
	}
	if m.captured && !s.holds && refusal(err) {
		m.refused[number] = err
		m.seen = m.seen[:before]
	}
	if err != nil {
		m.note("  error %v", err)
	}
	return err
}

// refusal reports whether the plugin refused an operation, as the published
// matrix says. Such an operation must have no effect: without the plugin, it is
// left out.
func refusal(err error) bool {
	return err != nil && strings.HasPrefix(err.Error(), "reliable: ") && slices.ContainsFunc([]string{
		"whose value MariaDB does not tell", "rows got which primary key", "ON CONFLICT sets the primary key",
	}, func(why string) bool { return strings.Contains(err.Error(), why) })
}

// see notes what a writer sees of its operation.
func (m *machine) see(tx *gorm.DB, models ...any) error {
	m.note("  %d rows", tx.RowsAffected)
	for _, model := range models {
		m.note("  %s", content(model))
	}
	return tx.Error
}

// content renders a model.
func content(model any) string {
	text, err := json.Marshal(model)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// schemaName is the name of a test's database, which errors tell.
var schemaName = regexp.MustCompile(`reliable_test_[0-9]+_[a-z0-9]{12}`)

// anonymous drops from a text what differs from run to run. The context of a
// transaction is cancelled at one time, and the transaction rolled back at
// another, by a goroutine of database/sql: an error in between is either, and
// GORM's own rollback may find nothing left to do. Then reliable.Transaction
// tells how many entries were waiting.
func anonymous(text string) string {
	text = schemaName.ReplaceAllString(text, "")
	text = endedEarly.ReplaceAllString(text, "")
	text = strings.ReplaceAll(text, "timeout: context already done: context canceled", context.Canceled.Error()) // pgx
	text = strings.ReplaceAll(text, sql.ErrTxDone.Error(), context.Canceled.Error())
	return cancelledTwice.ReplaceAllString(text, context.Canceled.Error())
}

var endedEarly = regexp.MustCompile(`\nreliable: Transaction: it had ended before its function returned, .*`)

var cancelledTwice = regexp.MustCompile(`context canceled(; context canceled)+`)

// program is what a test runs.
type program struct {
	session session
	steps   []step
	unknown bool // old values need not be known
}

// session is the gorm.Session that a program runs in.
type session struct{ prepared, implicit, flat, update bool }

func (s session) apply(db *gorm.DB) *gorm.DB {
	return db.Session(&gorm.Session{
		NewDB: true, PrepareStmt: s.prepared, SkipDefaultTransaction: s.implicit, DisableNestedTransaction: s.flat, FullSaveAssociations: s.update,
	})
}

// GoString renders the program, for rapid.
func (p program) GoString() string {
	var b strings.Builder
	var on []string
	for _, flag := range []struct {
		set  bool
		name string
	}{
		{p.session.prepared, "PrepareStmt"},
		{p.session.implicit, "SkipDefaultTransaction"},
		{p.session.flat, "DisableNestedTransaction"},
		{p.session.update, "FullSaveAssociations"},
	} {
		if flag.set {
			on = append(on, flag.name)
		}
	}
	fmt.Fprintf(&b, "\nsession: %s\n", strings.Join(on, ", "))
	for _, s := range p.steps {
		b.WriteString(strings.Join(s.text, "\n") + "\n")
	}
	return b.String()
}

// block makes a step of others: head, the steps indented, tail.
func block(head string, steps []step, tail string, run func(m *machine, db *gorm.DB) error) step {
	lines := []string{head + " {"}
	for _, s := range steps {
		for _, line := range s.text {
			lines = append(lines, "\t"+line)
		}
	}
	return step{append(lines, "} "+tail), run, true}
}

// all runs steps; it stops at the first error if careful is set.
func (m *machine) all(steps []step, db *gorm.DB, careful bool) error {
	var errs []error
	for _, s := range steps {
		err := m.run(s, db)
		if careful && err != nil {
			return err
		}
		errs = append(errs, err)
	}
	if careful {
		return nil
	}
	_ = errors.Join(errs...) // the application does not look
	return nil
}

// sortedLines returns the lines of a result whose order the database chooses.
func sortedLines(lines []string) string {
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
