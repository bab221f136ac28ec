package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/gorm-aftercommit/aftercommit/outbox"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

func (t *tree) reencrypt() *cobra.Command {
	c := &cobra.Command{
		Use:   "reencrypt",
		Short: "Encrypt what entries carry with the first key",
		Long: "Encrypt with the first key of the ring what entries carry in clear or under other keys, in the order of ids, beside writers and workers.\n" +
			"It can be interrupted and run again. When it is done, and no process writes with another key, the other keys can go; what is in the\n" +
			"history stays as it is. Entries that can't be decrypted are named, and stay as they are.",
		Example: "  RELIABLE_ENCRYPTION_KEYS=2026-11:...,2026-05:... reliable reencrypt\n  reliable reencrypt --yes --json",
	}
	f, yes := newFlags(c.Flags()), false
	f.none()
	c.Flags().BoolVarP(&yes, "yes", "y", false, "don't ask")
	return leaf(c, f, func(ctx context.Context, c *cobra.Command, _ []string) error {
		return t.outbox(ctx, func(o *outbox.Outbox, p *reliable.Plugin) error { return t.encryptAll(ctx, c, yes, o, p) })
	})
}

// encryptAll counts, asks, and does it.
func (t *tree) encryptAll(ctx context.Context, c *cobra.Command, yes bool, o *outbox.Outbox, p *reliable.Plugin) error {
	total, err := o.CountStale(ctx)
	if err != nil {
		return err
	}
	var result outbox.Reencryption
	if total.N > 0 || total.AtLeast {
		if err := confirm(c, yes, fmt.Sprintf("%s will be encrypted with key %s", plural(total, "entry", "entries"), p.EncryptionKey())); err != nil {
			return err
		}
		bar := newProgress(c, total)
		result, err = o.Reencrypt(ctx, func(r outbox.Reencryption) { bar.at(r.Done + r.Skipped) })
		if bar.end(); err != nil {
			return fmt.Errorf("%s encrypted, then: %w", plural(number(result.Done), "entry", "entries"), err)
		}
	}
	return t.write(c, result, func(w io.Writer) {
		fmt.Fprintf(w, "%s encrypted with key %s.\n", plural(number(result.Done), "entry", "entries"), p.EncryptionKey())
	})
}
