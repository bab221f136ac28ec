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

func (t *tree) pause() *cobra.Command {
	var reason string
	return t.selection(&cobra.Command{
		Use:   "pause",
		Short: "Stop work in all workers, until it is resumed",
		Long: "Stop work to which every flag applies, in all workers, until it is resumed. What runs is not interrupted; entries burn no attempt and\n" +
			"run what else they owe. Names that this binary does not know are refused, but with --force; a binary without callbacks knows none and takes all.",
		Example: "  reliable pause --model Order --callback receipt --reason 'mail server moves'",
	}, "paused", func(f *flags, s *outbox.Selector) {
		f.text(&reason, "reason", "why, for others to read")
		f.set.BoolVar(&s.Force, "force", false, "take names that this binary does not know")
	}, func(ctx context.Context, o *outbox.Outbox, s outbox.Selector) error { return o.Pause(ctx, s, reason) })
}

func (t *tree) resume() *cobra.Command {
	return t.selection(&cobra.Command{
		Use:     "resume",
		Short:   "End a pause",
		Long:    "End the pause that was made with the same names. What waited is due at once. Without such a pause the exit code is 3; status shows pauses.",
		Example: "  reliable resume --model Order --callback receipt",
	}, "resumed", nil, func(ctx context.Context, o *outbox.Outbox, s outbox.Selector) error { return o.Resume(ctx, s) })
}

// selection makes a command for what a selector selects.
func (t *tree) selection(c *cobra.Command, past string, more func(*flags, *outbox.Selector), do func(context.Context, *outbox.Outbox, outbox.Selector) error) *cobra.Command {
	f, s := newFlags(c.Flags()), outbox.Selector{}
	f.none()
	f.text(&s.Context, "context", "of this context; \"gorm\" for captured writes")
	f.text(&s.Model, "model", "of this model, for example Order")
	f.text(&s.Event, "event", "of this event, for example order_created")
	f.text(&s.Callback, "callback", "this callback or record processor")
	if more != nil {
		more(f, &s)
	}
	f.checks = append(f.checks, func([]string) error {
		if s.Context+s.Model+s.Event+s.Callback == "" {
			return errors.New("this selects everything: give --context, --model, --event or --callback; --context gorm stands for all captured writes")
		}
		return nil
	})
	return leaf(c, f, func(ctx context.Context, c *cobra.Command, _ []string) error {
		return t.outbox(ctx, func(o *outbox.Outbox, p *reliable.Plugin) error {
			s.Force = s.Force || p.Registry().Empty()
			if err := do(ctx, o, s); err != nil {
				return err
			}
			pause := reliable.Pause{Context: s.Context, Model: s.Model, Event: s.Event, Callback: s.Callback}
			return t.write(c, map[string]string{past: pause.String()}, func(w io.Writer) { fmt.Fprintf(w, "%s: %s.\n", past, pause) })
		})
	})
}
