package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gorm-aftercommit/aftercommit/outbox"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

func (t *tree) status() *cobra.Command {
	c := &cobra.Command{
		Use:   "status",
		Short: "Show the outbox at a glance",
		Long: "Show the outbox at a glance: how much is pending, eligible, waiting, held and dead, the oldest of each, parked keys, orphans, workers and\n" +
			"pauses. Numbers above 100,000 are estimates, with ≈ before them. With --watch it is shown again and again, until it is interrupted.",
		Example: "  reliable status\n  reliable status --watch\n  reliable status --json",
	}
	f, every := newFlags(c.Flags()), time.Duration(0)
	f.none()
	f.age(&every, "watch", "show it again this often (2s if no duration is given; write --watch=10s)")
	c.Flags().Lookup("watch").NoOptDefVal = "2s"
	return leaf(c, f, func(ctx context.Context, c *cobra.Command, _ []string) error {
		return t.outbox(ctx, func(o *outbox.Outbox, p *reliable.Plugin) error {
			for first := true; ; first = false {
				s, err := o.Status(ctx)
				if err == nil {
					err = t.screen(c, s, every, !p.Registry().Empty())
				}
				switch {
				case every == 0:
					return err
				case ctx.Err() != nil:
					return nil
				case err != nil && first:
					return err
				case err != nil: // it may be over soon
					fmt.Fprintln(c.ErrOrStderr(), c.Root().Name()+": "+err.Error())
				}
				pause := time.NewTimer(every)
				select {
				case <-pause.C:
				case <-ctx.Done():
					pause.Stop()
					return nil
				}
			}
		})
	})
}

// screen shows a status: on a terminal that is watched, in place of what it
// shows.
func (t *tree) screen(c *cobra.Command, s *outbox.Status, every time.Duration, knows bool) error {
	return t.write(c, s, func(w io.Writer) {
		var lines bytes.Buffer
		statusTable(&lines, s, knows)
		if every > 0 && terminal(c.OutOrStdout()) {
			fmt.Fprint(w, "\x1b[H\x1b[2J")
		}
		_, _ = lines.WriteTo(w) // w keeps its error
	})
}

func statusTable(w io.Writer, s *outbox.Status, knows bool) {
	fmt.Fprintf(w, "%s UTC\n\n", s.At.Format("2006-01-02 15:04:05"))
	age := func(a outbox.Age) string {
		if a == 0 {
			return ""
		}
		return a.String()
	}
	orphans := s.Orphans.String()
	if !knows {
		orphans = "unknown: this binary has no callbacks"
	}
	table(w, "STATE ENTRIES OLDEST", [][]string{
		{"pending", s.Pending.String(), ""},
		{"  eligible", s.Eligible.String(), age(s.OldestEligible)},
		{"  waiting", s.Waiting.String(), ""},
		{"  held", s.Held.String(), ""},
		{"dead", s.Dead.String(), age(s.OldestDead)},
		{"parked keys", s.ParkedKeys.String(), age(s.OldestParked)},
		{"orphans", orphans, age(s.OldestOrphan)},
	})
	const most = 10
	if len(s.Kinds) > 0 {
		var rows [][]string
		for _, k := range s.Kinds[:min(len(s.Kinds), most)] {
			note := ""
			if k.Orphan {
				note = "orphan"
			}
			rows = append(rows, []string{k.Event, k.Context, strings.Join(k.Owed, ","), number(k.N).String(), age(k.Oldest), note})
		}
		fmt.Fprintln(w)
		table(w, "PENDING CONTEXT OWED ENTRIES OLDEST NOTE", rows)
		if more := len(s.Kinds) - most; more > 0 {
			fmt.Fprintf(w, "and %d more kinds\n", more)
		}
	}
	fmt.Fprintln(w)
	if len(s.Workers) == 0 {
		fmt.Fprintln(w, "No worker is registered.")
	} else {
		rows := make([][]string, len(s.Workers))
		for i, k := range s.Workers {
			state := "alive"
			if !k.Alive {
				state = "lost"
			}
			rows[i] = []string{k.Hostname + ":" + strconv.Itoa(k.PID), state, k.Processor, strconv.Itoa(k.Threads), number(k.Held).String(), k.Up.String(), k.Beat.String() + " ago"}
		}
		table(w, "WORKER STATE PROCESSOR THREADS HELD UP HEARTBEAT", rows)
	}
	for _, p := range s.Pauses {
		fmt.Fprintf(w, "\nPaused: %s, since %s: %s\n", clean(p.String(), 0), since(&p.At), clean(p.Reason, 0))
	}
}
