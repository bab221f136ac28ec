package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/gorm-aftercommit/aftercommit/outbox"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// chunk is how many entries are changed between two looks at the progress.
const chunk = 500

// change is a command that changes entries which a filter selects.
type change struct {
	filter outbox.Filter
	limit  int64
	yes    bool
	state  outbox.State // if the flags don't say
	more   func(*flags) // adds flags; may be nil
	past   string       // "retried"
	do     func(o *outbox.Outbox) func(context.Context, outbox.Filter) (outbox.Result, error)
}

func (t *tree) retry() *cobra.Command {
	return t.change(&cobra.Command{
		Use:   "retry [id...]",
		Short: "Have dead entries tried again",
		Long: "Have dead entries tried again: those with the given ids, or all, to which every flag applies. They are due at once, in the order of\n" +
			"ids, and have all their attempts before them; callbacks that are done don't run again. The head of a parked key is released.",
		Example: "  reliable retry 4711 4712\n  reliable retry --state dead --callback receipt --error-class timeout",
	}, &change{state: outbox.Dead, past: "retried", do: func(o *outbox.Outbox) func(context.Context, outbox.Filter) (outbox.Result, error) { return o.Retry }},
		outbox.Dead, outbox.Parked)
}

func (t *tree) discard() *cobra.Command {
	return t.change(&cobra.Command{
		Use:   "discard [id...]",
		Short: "Give dead entries up",
		Long: "Give dead entries up: those with the given ids, or all, to which every flag applies. They go to the history with their errors, and never\n" +
			"run. With --state orphan, pending entries that this binary does not know: ask the newest one.",
		Example: "  reliable discard 4711\n  reliable discard --state dead --model Order --older-than 30d",
	}, &change{state: outbox.Dead, past: "discarded", do: func(o *outbox.Outbox) func(context.Context, outbox.Filter) (outbox.Result, error) { return o.Discard }},
		outbox.Dead, outbox.Parked, outbox.Orphan)
}

func (t *tree) release() *cobra.Command {
	how := outbox.RetryHead
	ch := &change{state: outbox.Parked, past: "released"}
	ch.more = func(f *flags) {
		oneOf(f, &how, "as", "what becomes of it (default retry)", outbox.RetryHead, outbox.DiscardHead, outbox.SkipHead)
	}
	ch.do = func(o *outbox.Outbox) func(context.Context, outbox.Filter) (outbox.Result, error) {
		return func(ctx context.Context, f outbox.Filter) (outbox.Result, error) { return o.ReleaseHeads(ctx, f, how) }
	}
	return t.change(&cobra.Command{
		Use:   "release [id...]",
		Short: "Let parked causality keys go on",
		Long: "Let parked causality keys go on: those that stand at the entries with the given ids, or all, to which every flag applies. --as says what\n" +
			"becomes of the entry at which a key stands; what is behind it follows in order.",
		Example: "  reliable release --key customer-7\n  reliable release --state parked --error-class timeout --as retry",
	}, ch, outbox.Parked)
}

// change makes the command.
func (t *tree) change(c *cobra.Command, ch *change, states ...outbox.State) *cobra.Command {
	f := newFlags(c.Flags())
	f.ids(&ch.filter.IDs, 0)
	f.filter(&ch.filter, states...)
	f.number(&ch.limit, "limit", "at most so many, the lowest ids first", 1, 1<<31)
	if ch.more != nil {
		ch.more(f)
	}
	c.Flags().BoolVarP(&ch.yes, "yes", "y", false, "don't ask")
	f.checks = append(f.checks, func(args []string) error {
		if len(args) == 0 && ch.filter.Empty() {
			return fmt.Errorf("this selects everything: give ids or a filter; --state %s stands for all", ch.state)
		}
		return nil
	})
	return leaf(c, f, func(ctx context.Context, c *cobra.Command, _ []string) error {
		return t.outbox(ctx, func(o *outbox.Outbox, _ *reliable.Plugin) error { return t.apply(ctx, c, ch, o) })
	})
}

// apply counts, asks, and does it chunk by chunk.
func (t *tree) apply(ctx context.Context, c *cobra.Command, ch *change, o *outbox.Outbox) error {
	f := ch.filter
	if f.State == "" {
		f.State = ch.state
	}
	f.Limit = int(ch.limit)
	total, err := o.Count(ctx, f)
	if err != nil {
		return err
	}
	var result outbox.Result
	if total.N > 0 || total.AtLeast {
		what := fmt.Sprintf("%s of state %s will be %s", plural(total, "entry", "entries"), f.State, ch.past)
		if err := confirm(c, ch.yes, what); err != nil {
			return err
		}
		if result, err = ch.run(ctx, c, o, f, total); err != nil {
			return fmt.Errorf("%s %s, then: %w", plural(number(result.Done), "entry", "entries"), ch.past, err)
		}
	}
	return t.write(c, result, func(w io.Writer) {
		fmt.Fprintf(w, "%s %s.\n", plural(number(result.Done), "entry", "entries"), ch.past)
		if result.Skipped > 0 {
			fmt.Fprintf(w, "%s skipped: somebody else has or had them.\n", number(result.Skipped))
		}
	})
}

// run does it. An entry that can't be read does not keep it from the next
// ones.
func (ch *change) run(ctx context.Context, c *cobra.Command, o *outbox.Outbox, f outbox.Filter, total outbox.Count) (result outbox.Result, err error) {
	bar := newProgress(c, total)
	defer bar.end()
	var unread error
	for left := f.Limit; ; {
		if f.Limit = chunk; left > 0 {
			f.Limit = min(chunk, left)
		}
		r, err := ch.do(o)(ctx, f)
		result.Done += r.Done
		result.Skipped += r.Skipped
		bar.at(result.Done + result.Skipped)
		switch {
		case errors.Is(err, outbox.ErrUnreadable):
			unread = errors.Join(unread, err)
		case err != nil:
			return result, err
		}
		if left > 0 {
			if left -= f.Limit; left <= 0 {
				return result, unread
			}
		}
		if f.After = r.Next; r.Next == 0 {
			return result, unread
		}
	}
}
