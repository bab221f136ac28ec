package cli_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/cli"
	"github.com/gorm-aftercommit/aftercommit/outbox"
)

// SIGINT ends what is going on, and says how far it came.
func TestInterrupt(t *testing.T) {
	c := cli.Command(func(ctx context.Context) (*gorm.DB, error) {
		self, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = self.Signal(os.Interrupt)
		}
		if err != nil {
			return nil, err
		}
		<-ctx.Done()
		return nil, errors.New("half of it is done")
	})
	var messages bytes.Buffer
	c.SetErr(&messages)
	c.SetArgs([]string{"list"})
	if code := cli.Main(c); code != cli.ExitInterrupted || messages.String() != "reliable: interrupted: half of it is done\n" {
		t.Errorf("Main() = %d, %q, want %d, and what is done", code, &messages, cli.ExitInterrupted)
	}
}

func TestExitCode(t *testing.T) {
	for want, err := range map[int]error{
		cli.ExitDone: nil, cli.ExitFailure: errors.New("no"), cli.ExitUsage: &cli.UsageError{Err: errors.New("no")}, cli.ExitNotFound: outbox.ErrNotParked,
	} {
		if got := cli.ExitCode(err); got != want {
			t.Errorf("ExitCode(%v) = %d, want %d", err, got, want)
		}
	}
	if got := (&cli.UsageError{Err: errors.New("no")}).Error(); strings.Contains(got, "help") {
		t.Errorf("Error() = %q, want no command's help", got)
	}
}
