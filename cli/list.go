package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gorm-aftercommit/aftercommit/outbox"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

func (t *tree) list() *cobra.Command {
	c := &cobra.Command{
		Use:   "list [id...]",
		Short: "List entries that are not done, by id",
		Long: "List entries that are not done, by id: those with the given ids, or all, to which every flag applies.\n\n" +
			"Indexes serve ids, --key, and the states waiting, held, dead and parked. Anything else is looked for in the order of ids,\n" +
			"in at most 100,000 rows; the list says so if it ends there, and with which --after it goes on.",
		Example: "  reliable list --state dead --model Order --error-class timeout\n  reliable list --key customer-7 --json",
	}
	f, filter := newFlags(c.Flags()), outbox.Filter{}
	limit := int64(50)
	f.ids(&filter.IDs, 0)
	f.filter(&filter, outbox.Pending, outbox.Eligible, outbox.Waiting, outbox.Held, outbox.Dead, outbox.Parked, outbox.Orphan)
	f.number(&filter.After, "after", "entries with a higher id", 0, 1<<63-1)
	f.number(&limit, "limit", "at most so many (default 50)", 1, outbox.MaxPage)
	return leaf(c, f, func(ctx context.Context, c *cobra.Command, _ []string) error {
		return t.outbox(ctx, func(o *outbox.Outbox, _ *reliable.Plugin) error {
			filter.Limit = int(limit)
			page, err := o.List(ctx, filter)
			if err != nil {
				return err
			}
			return t.write(c, page, func(w io.Writer) { listTable(w, page) })
		})
	})
}

// listTable shows a page of entries.
func listTable(w io.Writer, page outbox.Page) {
	rows := make([][]string, len(page.Entries))
	for i, e := range page.Entries {
		state, failure := string(e.State), e.ErrorClass
		if e.Orphan {
			state += ",orphan"
		}
		if e.ErrorMessage != "" {
			failure += ": " + e.ErrorMessage
		}
		rows[i] = []string{
			strconv.FormatInt(e.ID, 10), state, e.Event, strings.TrimSpace(e.Model + " " + e.ModelID), e.Key, strings.Join(e.Owed, ","),
			strconv.Itoa(e.Attempts), since(&e.CreatedAt), since(e.RetryAt), failure,
		}
	}
	if len(rows) == 0 && page.Next == 0 {
		fmt.Fprintln(w, "There is no such entry.")
		return
	}
	table(w, "ID STATE EVENT ROW KEY OWED ATTEMPTS WRITTEN NEXT ERROR", rows)
	switch {
	case page.Bounded:
		fmt.Fprintf(w, "\nLooked at %s rows and stopped there: no index serves this filter. Go on with --after %d.\n", number(page.Looked), page.Next)
	case page.Next > 0:
		fmt.Fprintf(w, "\nThere are more. Go on with --after %d.\n", page.Next)
	}
}

func (t *tree) show() *cobra.Command {
	c := &cobra.Command{
		Use:   "show <id>",
		Short: "Show an entry with what it carries, masked",
		Long: "Show an entry with what it carries. Fields that are tagged sensitive are masked; of arguments and headers only the length is shown,\n" +
			"unless --reveal is given. What is done is not in the outbox any more, and not found.",
		Example: "  reliable show 4711\n  reliable show 4711 --reveal --json",
	}
	f, reveal := newFlags(c.Flags()), false
	var ids []int64
	f.ids(&ids, 1)
	f.checks = append(f.checks, func(args []string) error {
		if len(args) > 1 {
			return fmt.Errorf("%q are %d: give one id", args, len(args))
		}
		return nil
	})
	c.Flags().BoolVar(&reveal, "reveal", false, "show arguments and headers, which not everybody may read")
	return leaf(c, f, func(ctx context.Context, c *cobra.Command, _ []string) error {
		return t.outbox(ctx, func(o *outbox.Outbox, _ *reliable.Plugin) error {
			get := o.Get
			if reveal {
				get = o.Reveal
			}
			d, err := get(ctx, ids[0])
			if err != nil {
				return err
			}
			return t.write(c, d, func(w io.Writer) { details(w, d) })
		})
	})
}

// details shows an entry line by line.
func details(w io.Writer, d *outbox.Details) {
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(w, "%-10s %s\n", name, clean(text, 0))
		}
	}
	line("id", strconv.FormatInt(d.ID, 10))
	line("state", string(d.State))
	if d.Orphan {
		line("orphan", "this binary does not know what it owes")
	}
	line("worker", d.Worker)
	line("event", d.Context+" "+d.Event)
	line("row", strings.TrimSpace(d.Model+" "+d.ModelID))
	line("key", d.Key)
	line("owed", strings.Join(d.Owed, ", "))
	line("written", d.CreatedAt.Format("2006-01-02 15:04:05.000")+" UTC, "+since(&d.CreatedAt))
	line("next", since(d.RetryAt))
	line("failed", since(d.FailedAt))
	line("dead", since(d.DeadAt))
	line("attempts", fmt.Sprintf("%d failed, %d crashes", d.Attempts, d.Crashes))
	line("error", strings.TrimPrefix(d.ErrorClass+": "+d.ErrorMessage, ": "))
	for _, s := range d.Callbacks {
		line("callback", strings.TrimSuffix(fmt.Sprintf("%s %s after %d attempts: %s %s", s.Name, s.State, s.Attempts, s.ErrorClass, s.ErrorMessage), ":  "))
	}
	line("changeset", string(d.Changeset))
	line("arguments", string(d.Arguments))
	line("headers", string(d.Headers))
}
