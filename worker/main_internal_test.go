package worker

import (
	"bytes"
	"context"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

type thing struct{ ID uint }

func TestMainReportsEveryMistakeAtOnce(t *testing.T) {
	var out bytes.Buffer
	p := program{environ: []string{
		"THREADS=abc", "DB_POOL=0", "RELIABLE_POLL_INTERVAL=5", "RELIABLE_PROCESSOR=orderd", "RELIABLE_COMPLETION=drop", "LOG_LEVEL=loud",
		"RELIABLE_BATCH_SIZE=5000", "RELIABLE_BATCHSIZE=5",
	}, errors: &out}
	if code := p.main(nil); code != ExitConfiguration {
		t.Errorf("main() = %d, want %d", code, ExitConfiguration)
	}
	for _, want := range []string{
		`THREADS="abc": want a whole number from 1 to 10000 (example: THREADS=8)`, `DB_POOL="0": want a whole number`,
		`RELIABLE_POLL_INTERVAL="5": want a duration from 1ms to 1h (example: RELIABLE_POLL_INTERVAL=500ms)`,
		`RELIABLE_PROCESSOR="orderd": want non_ordered`, `RELIABLE_COMPLETION="drop": want archive, delete, keep`, `LOG_LEVEL="loud": want debug, info, warn, error`,
		`RELIABLE_BATCH_SIZE="5000": want a whole number from 1 to 1000`, `RELIABLE_BATCHSIZE is not known`,
		`DATABASE_URL is not set (example: postgres://user:pass@host/db)`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("main() wrote\n%swant it to contain %q", out.String(), want)
		}
	}
}

func TestBadURLIsNotPrinted(t *testing.T) {
	_, err := read([]string{"DATABASE_URL=://user:secret@host"})
	if err == nil || !strings.Contains(err.Error(), "DATABASE_URL is no URL") || strings.Contains(err.Error(), "secret") {
		t.Errorf("read() = %v, want an error without the value", err)
	}
}

func TestMainStopsOnSignals(t *testing.T) {
	url := testdb.New(t, testdb.SQLite)
	var out bytes.Buffer
	exited := 0
	p := program{environ: []string{"DATABASE_URL=" + url.URL, "THREADS=3", "LOG_FORMAT=json"}, errors: &out, signals: make(chan os.Signal, 8), exit: func(code int) { exited = code }}
	code := p.main(func(ctx context.Context, _ string) (*Worker, error) {
		r := new(reliable.Registry)
		reliable.AfterCreateCommit(r, "x", func(context.Context, reliable.Change[thing]) error { return nil })
		m := new(reliable.Monitor)
		reliable.Subscribe(m, func(*reliable.Started) {
			p.signals <- syscall.SIGTERM
			p.signals <- syscall.SIGTERM
		})
		db := url.Open(t)
		if err := db.Use(reliable.New(reliable.Config{Registry: r, Monitor: m})); err != nil {
			return nil, err
		}
		return &Worker{DB: db}, migrations.Up(ctx, db)
	})
	if code != ExitClean || exited != 0 {
		t.Errorf("main() = %d, exit %d, want a clean stop", code, exited)
	}
	log := out.String()
	down, stopped := strings.Index(log, `"shutting_down"`), strings.Index(log, `"stopped"`)
	if !strings.Contains(log, `"THREADS":"3 (environment)"`) || down < 0 || stopped < down {
		t.Errorf("log is\n%s\nwant the settings, then shutting_down, then stopped", log)
	}
}
