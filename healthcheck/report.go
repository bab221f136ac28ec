// Package healthcheck tells whether a worker lives, from a file that the worker
// writes once a second: its heartbeat. It reads what each thread of the worker
// does and until when it should be done with that, so that one that is stuck is
// told from one that is busy, and asks neither the database nor the network.
//
// A worker writes the file if RELIABLE_HEARTBEAT_FILE names one. Command
// healthcheck (cmd/healthcheck) and "reliable healthcheck" read it:
//
//	livenessProbe:
//	  exec: {command: ["healthcheck"]}
//
// A worker is healthy if its process lives, the file is younger than
// [Fresh], and every thread is inside its deadline. The file's age is measured
// on the clock of the machine's uptime where there is one, so that a clock that
// is set changes nothing. The package imports the standard library only.
package healthcheck

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// What a heartbeat is written with.
const (
	// Version is that of the file's format. A file of another version is not
	// read, and its worker not healthy.
	Version = 1

	// Interval is how often a worker writes its heartbeat.
	Interval = time.Second

	// Fresh is how old a heartbeat may be. A thread that has nothing to do must
	// have shown itself within the same time.
	Fresh = 15 * time.Second

	// Margin is how long after the end of its timeout a callback may still run
	// before its thread is stuck.
	Margin = 10 * time.Second
)

// Variable is the environment variable that names the heartbeat, for those who
// write it and those who read it.
const Variable = "RELIABLE_HEARTBEAT_FILE"

// ErrNotReady says that a worker lives, and does not take work: it starts, or
// it drains.
var ErrNotReady = errors.New("the worker is not ready")

// Phase is where a worker is in its life.
type Phase string

// The phases of a worker.
const (
	Starting Phase = "starting" // it has not registered with the database yet
	Running  Phase = "running"
	Draining Phase = "draining" // it takes no more work, and ends what runs
	Ended    Phase = "ended"
)

// State is what a thread does.
type State string

// The states of a thread.
const (
	Idle    State = "idle"    // nothing; it shows itself well within [Fresh]
	Busy    State = "busy"    // it works, on what Thread.Work says
	Waiting State = "waiting" // for the database, to make durable what is done
	Beating State = "beating" // of a loop, not a thread: it says how soon it shows itself again
)

// Thread is what is known of one thread, or one of the loops around them.
type Thread struct {
	Name     string    `json:"name"`
	State    State     `json:"state"`
	Work     string    `json:"work,omitempty"` // the callback that runs, if any
	Since    time.Time `json:"since"`          // when it began that, or of a loop, when it showed itself
	Deadline time.Time `json:"deadline"`       // when it is stuck, unless it shows itself before
}

// Report is the state of a worker at the time Written. Times are those of the
// wall clock at that moment: only what is between them counts.
type Report struct {
	Version int       `json:"version"`
	ID      string    `json:"id"`              // random, of the worker
	PID     int       `json:"pid"`             // of its process
	Begun   string    `json:"begun,omitempty"` // when that began, as the kernel counts
	Host    string    `json:"host"`
	Boot    string    `json:"boot,omitempty"`      // of the machine
	Uptime  int64     `json:"uptime_ms,omitempty"` // of the machine, when Written was
	Written time.Time `json:"written"`
	Phase   Phase     `json:"phase"`
	Threads []Thread  `json:"threads"`
}

// Err returns why a worker is not healthy that reported this, and age ago; nil
// means that it is. It looks at the threads only.
func (r *Report) Err(age time.Duration) error {
	if r.Phase == Ended {
		return fmt.Errorf("worker %s has ended", r.ID)
	}
	late := func(t Thread) time.Duration { return age - t.Deadline.Sub(r.Written) }
	var stuck []Thread
	for _, t := range r.Threads {
		if late(t) > 0 {
			stuck = append(stuck, t)
		}
	}
	if len(stuck) == 0 {
		return nil
	}
	first := slices.MaxFunc(stuck, func(a, b Thread) int { return int(late(a) - late(b)) })
	what := string(first.State)
	switch {
	case first.State == Beating:
		what = "no sign of life"
	case first.Work != "":
		what += " with " + first.Work
	}
	others := ""
	if n := len(stuck); n > 1 {
		others = fmt.Sprintf("; stuck in all: %d", n)
	}
	return fmt.Errorf("%s of worker %s is stuck: %s for %s, %s past its deadline%s", first.Name, r.ID, what,
		short(age+r.Written.Sub(first.Since)), short(late(first)), others)
}

// Ready returns why a worker does not take work, wrapped in [ErrNotReady]; nil
// means that it does, if it is healthy.
func (r *Report) Ready() error {
	if r.Phase != Running {
		return fmt.Errorf("worker %s is %s: %w", r.ID, r.Phase, ErrNotReady)
	}
	return nil
}

// String returns a line that says what the worker's threads do.
func (r *Report) String() string {
	states := make(map[State]int)
	for _, t := range r.Threads {
		states[t.State]++
	}
	return fmt.Sprintf("worker %s is %s: %d busy, %d waiting, %d idle", r.ID, r.Phase, states[Busy], states[Waiting], states[Idle])
}

// mistake returns what makes it no report.
func (r *Report) mistake() error {
	var mistakes []error
	wrong := func(what string) { mistakes = append(mistakes, errors.New(what)) }
	if r.ID == "" {
		wrong("no id")
	}
	if r.PID <= 0 {
		wrong("no pid")
	}
	if r.Written.IsZero() {
		wrong("no time")
	}
	if !slices.Contains([]Phase{Starting, Running, Draining, Ended}, r.Phase) {
		wrong(fmt.Sprintf("phase %q", r.Phase))
	}
	if len(r.Threads) == 0 && r.Phase != Ended {
		wrong("no threads")
	}
	for _, t := range r.Threads {
		if t.Name == "" || t.Since.IsZero() || t.Deadline.IsZero() || !slices.Contains([]State{Idle, Busy, Waiting, Beating}, t.State) {
			wrong(fmt.Sprintf("thread %q in state %q", t.Name, t.State))
			break
		}
	}
	return errors.Join(mistakes...)
}

// short returns a duration for people.
func short(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// line returns a text as one line of what can be shown.
func line(text string) string {
	const most = 500
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}
