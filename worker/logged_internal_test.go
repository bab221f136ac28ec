package worker

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// What a program logs of its settings and of a start that fails has no password
// in it, whoever made the error (76).
func TestMainLogsNoSecret(t *testing.T) {
	const canary = "CanaryHunter2"
	dsn := "postgres://ann:" + canary + "@db/shop"
	for name, open := range map[string]Open{
		"start": func(context.Context, string) (*Worker, error) { return nil, errors.New("open " + dsn + ": refused") },
		"run": func(context.Context, string) (*Worker, error) {
			db := testdb.New(t, testdb.SQLite).Open(t) // without tables
			err := db.Use(reliable.New(reliable.Config{Registry: new(reliable.Registry), AllModels: true}))
			fails := func(tx *gorm.DB) { _ = tx.AddError(errors.New("dial " + dsn)) }
			return &Worker{DB: db}, errors.Join(err, db.Callback().Row().Before("*").Register("fails", fails), db.Callback().Raw().Before("*").Register("fails", fails))
		},
	} {
		for _, address := range []string{dsn, "postgres://db/shop?user=ann&password=" + canary} {
			var out bytes.Buffer
			p := program{environ: []string{"DATABASE_URL=" + address}, errors: &out, signals: make(chan os.Signal)}
			if code := p.main(open); code != ExitFailure {
				t.Errorf("%s: main() = %d, want %d", name, code, ExitFailure)
			}
			text := out.String()
			if strings.Contains(text, canary) || !strings.Contains(text, "msg="+name) || !strings.Contains(text, "DATABASE_URL=") || !strings.Contains(text, "[redacted]") {
				t.Errorf("%s: it logged\n%s\nwant what failed, and no %s", name, text, canary)
			}
		}
	}
	var out bytes.Buffer
	p := program{environ: []string{"DATABASE_URL=x://y/z", "THREADS=password=" + canary}, errors: &out, signals: make(chan os.Signal)}
	if code := p.main(nil); code != ExitConfiguration || strings.Contains(out.String(), canary) {
		t.Errorf("main() = %d and wrote %s, want %d, and no %s", code, &out, ExitConfiguration, canary)
	}
}
