package cli

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/gorm-aftercommit/aftercommit/healthcheck"
)

func (t *tree) healthcheck() *cobra.Command {
	c := &cobra.Command{
		Use:   "healthcheck [heartbeat...]",
		Short: "Say whether a worker lives",
		Long: "Say whether a worker lives, from the heartbeat that it writes to RELIABLE_HEARTBEAT_FILE, a file or a directory of them. It asks neither the\n" +
			"database nor the network, and must run where the worker does, in its container. A worker is healthy if its process lives, the file is at most\n" +
			"15 seconds old, and no thread is past its deadline. cmd/healthcheck is the same in a small binary, for probes.",
		Example: "  reliable healthcheck\n  reliable healthcheck --ready /run/worker/heartbeat",
	}
	f, ready := newFlags(c.Flags()), false
	c.Flags().BoolVar(&ready, "ready", false, "also fail while the worker starts or drains")
	return leaf(c, f, func(_ context.Context, c *cobra.Command, paths []string) error {
		text, err := healthcheck.Ask(paths, ready, os.Getenv)
		if err != nil {
			return fmt.Errorf("unhealthy: %w", err)
		}
		return t.write(c, map[string]any{"healthy": true, "reason": text}, func(w io.Writer) { fmt.Fprintln(w, "healthy: "+text) })
	})
}
