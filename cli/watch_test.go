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

// reader stops a command once it has written so many lines.
type reader struct {
	bytes.Buffer
	lines int
	stop  func()
}

// Write implements [io.Writer].
func (r *reader) Write(p []byte) (int, error) {
	if r.lines -= bytes.Count(p, []byte("\n")); r.lines <= 0 {
		r.stop()
	}
	return r.Buffer.Write(p)
}

// A status that is watched is shown until the context ends, which is no failure.
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
	out := &reader{lines: 3, stop: stop}
	c := cli.Command(open)
	c.SetArgs([]string{"status", "--watch=1ms", "--json"})
	c.SetOut(out)
	if err := c.ExecuteContext(ctx); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(out.String(), "\n"); lines < 3 || strings.Count(out.String(), `{"at":`) != lines {
		t.Errorf("status --watch wrote\n%s\nwant a document a line, at least three", &out.Buffer)
	}
}
