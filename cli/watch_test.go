package cli_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/gorm-aftercommit/aftercommit/cli"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
)

// reader calls next for each thing that a command writes.
type reader struct {
	bytes.Buffer
	next func()
}

// Write implements [io.Writer].
func (r *reader) Write(p []byte) (int, error) {
	r.next()
	return r.Buffer.Write(p)
}

// A status that is watched is shown until the context ends, which is no failure;
// nor is an error in between.
func TestWatch(t *testing.T) {
	t.Setenv("DATABASE_URL", testdb.New(t, testdb.SQLite).URL)
	db, err := open(t.Context())
	if err == nil {
		err = migrations.Up(t.Context(), db)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if pool, err := db.DB(); err == nil {
			_ = pool.Close()
		}
	}()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	rename := func(from, to string) {
		if err := db.Exec("ALTER TABLE " + from + " RENAME TO " + to).Error; err != nil {
			t.Error(err)
			stop()
		}
	}
	shown := 0
	out := &reader{next: func() {
		switch shown++; shown {
		case 2:
			rename("outbox_pauses", "gone")
		case 4:
			stop()
		}
	}}
	messages := &reader{next: func() { rename("gone", "outbox_pauses") }}
	c := cli.Command(open)
	c.SetArgs([]string{"status", "--watch=1ms", "--json"})
	c.SetOut(out)
	c.SetErr(messages)
	if err := c.ExecuteContext(ctx); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(out.String(), "\n"); lines != 4 || strings.Count(out.String(), `{"at":`) != lines {
		t.Errorf("status --watch wrote\n%s\nwant four documents, one a line", &out.Buffer)
	}
	if text := messages.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "no such table: outbox_pauses") {
		t.Errorf("status --watch told %q, want one error", text)
	}
}
