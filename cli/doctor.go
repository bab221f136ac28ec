package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/outbox/doctor"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// errFault says that the doctor has found one.
var errFault = errors.New("the doctor found")

// redisURL is the variable that says where the locks of ordered workers are.
const redisURL = "REDIS_URL"

func (t *tree) doctor() *cobra.Command {
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Examine the outbox and its database",
		Long: "Examine the outbox and its database, and say what to do: tables, indexes, partitions, settings, clocks, connections, notifications, long\n" +
			"transactions, lost workers, old pauses, and, in a program that has the callbacks, entries that nobody knows. It only reads. THREADS, DB_POOL,\n" +
			"RELIABLE_LISTEN and REDIS_URL are looked at as a worker has them. The exit code is 5 if there is a fault. A finding has one of these levels:\n" +
			"  fault     work is refused, stands still, or may be lost\n" +
			"  warning   it costs work, time or safety, or soon will\n" +
			"  unknown   it could not be examined\n" +
			"  notice    something to know\n" +
			"  ok        nothing is to be done",
		Example: "  reliable doctor\n  THREADS=8 reliable doctor --json",
	}
	f, timeout := newFlags(c.Flags()), doctor.DefaultTimeout
	f.none()
	f.age(&timeout, "timeout", "how long each examination may take (default 5s)")
	var threads, pool int
	f.checks = append(f.checks, variable("THREADS", &threads), variable("DB_POOL", &pool))
	return leaf(c, f, func(ctx context.Context, c *cobra.Command, _ []string) error {
		return t.database(ctx, func(db *gorm.DB, _ *reliable.Plugin) error {
			d := &doctor.Doctor{DB: db, Threads: threads, Pool: pool, NoListen: os.Getenv("RELIABLE_LISTEN") == "off", Redis: t.redis(), Timeout: timeout}
			findings, err := d.Examine(ctx)
			if err != nil {
				return err
			}
			if err := t.diagnosis(c, findings); err != nil {
				return err
			}
			if n := counts(findings)[doctor.Fault]; n > 0 {
				return fmt.Errorf("%w %s", errFault, plural(number(n), "fault", "faults"))
			}
			return nil
		})
	})
}

// variable reads a number from the environment; 0 stands for none.
func variable(name string, into *int) func([]string) error {
	return func([]string) error {
		text := os.Getenv(name)
		n, err := strconv.Atoi(cmp.Or(text, "1"))
		if err != nil || n < 1 {
			return fmt.Errorf("%s=%q: want a whole number from 1 on", name, text)
		}
		if text != "" {
			*into = n
		}
		return nil
	}
}

// redis asks the Redis of the environment, if there is one.
func (t *tree) redis() func(ctx context.Context) ([]string, error) {
	urls := strings.TrimSpace(os.Getenv(redisURL))
	if urls == "" {
		return nil
	}
	return func(ctx context.Context) ([]string, error) {
		if t.evictions == nil {
			return nil, errors.New(redisURL + " is set, and this program has no Redis: set Program.Evictions to redislock.EvictionsOf")
		}
		return t.evictions(ctx, urls)
	}
}

// levels are the levels of findings, in the order in which they are shown.
func levels() []doctor.Level {
	return []doctor.Level{doctor.Fault, doctor.Warning, doctor.Unknown, doctor.Notice, doctor.OK}
}

func counts(findings []doctor.Finding) map[doctor.Level]int {
	n := make(map[doctor.Level]int)
	for _, f := range findings {
		n[f.Level]++
	}
	return n
}

// diagnosis shows findings: the worst first.
func (t *tree) diagnosis(c *cobra.Command, findings []doctor.Finding) error {
	all, n := levels(), counts(findings)
	slices.SortStableFunc(findings, func(a, b doctor.Finding) int { return slices.Index(all, a.Level) - slices.Index(all, b.Level) })
	worst := findings[0].Level
	return t.write(c, map[string]any{"at": time.Now().UTC(), "worst": worst, "findings": findings}, func(w io.Writer) {
		fmt.Fprintf(w, "%-8s %-18s %s\n", "LEVEL", "EXAMINED", "SEEN, AND WHAT TO DO")
		for _, f := range findings {
			fmt.Fprintf(w, "%-8s %-18s %s\n", f.Level, f.Code, clean(f.Seen, 0))
			if f.Do != "" {
				fmt.Fprintf(w, "%-8s %-18s -> %s\n", "", "", clean(f.Do, 0))
			}
		}
		sums := make([]string, len(all))
		for i, level := range all {
			sums[i] = fmt.Sprint(n[level], " ", level)
		}
		fmt.Fprintf(w, "\n%s\n", strings.Join(sums, ", "))
	})
}
