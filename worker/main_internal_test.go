package worker

import (
	"bytes"
	"context"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

type thing struct{ ID uint }

func TestMainReportsEveryMistakeAtOnce(t *testing.T) {
	var out bytes.Buffer
	p := program{environ: []string{
		"THREADS=abc", "DB_POOL=0", "RELIABLE_POLL_INTERVAL=5", "RELIABLE_PROCESSOR=orderd", "RELIABLE_KEY_POLICY=wait", "RELIABLE_COMPLETION=drop", "LOG_LEVEL=loud",
		"RELIABLE_BATCH_SIZE=5000", "RELIABLE_BATCHSIZE=5", "RELIABLE_RETENTION=3",
		"RELIABLE_BREAKER=postgres://ann:hunter2@host/db",
	}, errors: &out}
	if code := p.main(nil); code != ExitConfiguration {
		t.Errorf("main() = %d, want %d", code, ExitConfiguration)
	}
	if strings.Contains(out.String(), "hunter2") {
		t.Errorf("main() wrote\n%swant no password, though it is in the wrong variable", out.String())
	}
	for _, want := range []string{
		`THREADS="abc": want a whole number from 1 to 10000 (example: THREADS=8)`, `DB_POOL="0": want a whole number`,
		`RELIABLE_POLL_INTERVAL="5": want a duration from 1ms to 1h (example: RELIABLE_POLL_INTERVAL=500ms)`,
		`RELIABLE_PROCESSOR="orderd": want non_ordered, ordered (example: RELIABLE_PROCESSOR=ordered)`, `RELIABLE_KEY_POLICY="wait": want park, block, skip`, `RELIABLE_COMPLETION="drop": want archive, delete, keep`, `LOG_LEVEL="loud": want debug, info, warn, error`,
		`RELIABLE_RETENTION="3": want a duration of 1m or more, or forever (example: RELIABLE_RETENTION=72h)`,
		`RELIABLE_BATCH_SIZE="5000": want a whole number from 1 to 1000`, `RELIABLE_BATCHSIZE is not known`,
		`DATABASE_URL is not set (example: postgres://user:pass@host/db)`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("main() wrote\n%swant it to contain %q", out.String(), want)
		}
	}
}

func TestRetention(t *testing.T) {
	db := testdb.New(t, testdb.SQLite).Open(t)
	for value, want := range map[string]time.Duration{"": 72 * time.Hour, "30m": 30 * time.Minute, "forever": processors.Forever} {
		s, err := read([]string{"DATABASE_URL=sqlite://x", "RELIABLE_RETENTION=" + value})
		if err != nil || time.Duration(s.Retention) != want {
			t.Errorf("RELIABLE_RETENTION=%s is %s, %v, want %s", value, s.Retention, err, want)
		}
		w := &Worker{DB: db}
		if err := s.apply(w); err != nil {
			t.Fatal(err)
		}
		if p, ok := w.Processor.(*processors.NonOrdered); !ok || p.Housekeeping.Retention != want {
			t.Errorf("with RELIABLE_RETENTION=%s the processor is %+v, want it to keep for %s", value, w.Processor, want)
		}
	}
}

func TestBadURLIsNotPrinted(t *testing.T) {
	_, err := read([]string{"DATABASE_URL=://user:secret@host"})
	if err == nil || !strings.Contains(err.Error(), "DATABASE_URL is no URL") || strings.Contains(err.Error(), "secret") {
		t.Errorf("read() = %v, want an error without the value", err)
	}
}

// signalled runs a program on SQLite that gets signals: while it opens its
// database, or when it has started. It returns its exit codes and its log.
func signalled(t *testing.T, opening, started []os.Signal) (code, exited int, log string) {
	t.Helper()
	url := testdb.New(t, testdb.SQLite)
	var out bytes.Buffer
	over := make(chan struct{})
	p := program{environ: []string{"DATABASE_URL=" + url.URL, "THREADS=3", "LOG_FORMAT=json"}, errors: &out, signals: make(chan os.Signal), exit: func(code int) { exited = code; close(over) }}
	send := func(signals []os.Signal) {
		for _, s := range signals {
			select {
			case p.signals <- s: // it is taken
			case <-over:
			case <-t.Context().Done():
			}
		}
	}
	var sent sync.WaitGroup
	code = p.main(func(ctx context.Context, _ string) (*Worker, error) {
		send(opening)
		r := new(reliable.Registry)
		reliable.AfterCreateCommit(r, "x", func(context.Context, reliable.Change[thing]) error { return nil })
		m := new(reliable.Monitor)
		told := make(chan struct{})
		reliable.Subscribe(m, func(*reliable.Started) { close(told) })
		reliable.Subscribe(m, func(*reliable.ShuttingDown) { send(started[1:]) })
		sent.Go(func() {
			select {
			case <-told:
				send(started[:1])
			case <-ctx.Done():
			}
		})
		db := url.Open(t)
		if err := db.Use(reliable.New(reliable.Config{Registry: r, Monitor: m})); err != nil {
			return nil, err
		}
		return &Worker{DB: db}, migrations.Up(context.WithoutCancel(ctx), db)
	})
	sent.Wait()
	return code, exited, out.String()
}

func TestMainStopsOnSignals(t *testing.T) {
	const term, interrupt = syscall.SIGTERM, syscall.SIGINT
	for name, test := range map[string]struct {
		opening, started []os.Signal
		exited           int
	}{
		"SIGTERM":                    {nil, []os.Signal{term}, 0},
		"five SIGTERM":               {nil, []os.Signal{term, term, term, term, term}, 0},
		"SIGINT, SIGTERM":            {nil, []os.Signal{interrupt, term}, 0},
		"SIGTERM, SIGINT":            {nil, []os.Signal{term, interrupt}, 0},
		"two SIGINT":                 {nil, []os.Signal{interrupt, interrupt}, ExitInterrupted},
		"SIGTERM while it opens":     {[]os.Signal{term}, nil, 0},
		"five SIGTERM while opening": {[]os.Signal{term, term, term, term, term}, nil, 0},
		"two SIGINT while it opens":  {[]os.Signal{interrupt, interrupt}, nil, ExitInterrupted},
	} {
		t.Run(name, func(t *testing.T) {
			code, exited, log := signalled(t, test.opening, test.started)
			if code != ExitClean || exited != test.exited {
				t.Errorf("main() = %d, exit %d, want %d, %d", code, exited, ExitClean, test.exited)
			}
			if test.opening != nil {
				if strings.Contains(log, `"started"`) {
					t.Errorf("log is\n%s\nwant no worker that started", log)
				}
				return
			}
			down, stopped := strings.Index(log, `"shutting_down"`), strings.Index(log, `"stopped"`)
			if !strings.Contains(log, `"THREADS":"3 (environment)"`) || down < 0 || stopped < down || strings.Count(log, `"shutting_down"`) != 1 {
				t.Errorf("log is\n%s\nwant the settings, then shutting_down, once, then stopped", log)
			}
		})
	}
}
