package worker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/healthcheck"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// probed runs command healthcheck on a heartbeat.
func probed(path string, args ...string) (code int, line string) {
	var out bytes.Buffer
	code = healthcheck.Main(append(args, path), os.Getenv, &out, &out)
	return code, strings.TrimSpace(out.String())
}

// answered asks a server.
func answered(t *testing.T, url string) (status int, text string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Error(err)
	}
	return response.StatusCode, strings.TrimSpace(string(body))
}

// A program shows what it is about from the first moment: while it opens its
// database, while it works, and until it has drained.
func TestMainShowsItsLife(t *testing.T) {
	var out bytes.Buffer
	var at string
	path := filepath.Join(t.TempDir(), "heartbeat")
	url := testdb.New(t, testdb.SQLite)
	p := program{
		environ: []string{"DATABASE_URL=" + url.URL, "PORT=8080", "RELIABLE_HEARTBEAT_FILE=" + path}, errors: &out, signals: make(chan os.Signal),
		listen: func(network, address string) (net.Listener, error) {
			if address != ":8080" {
				t.Errorf("listens at %s, want :8080", address)
			}
			l, err := net.Listen(network, "127.0.0.1:0")
			if err == nil {
				at = "http://" + l.Addr().String()
			}
			return l, err
		},
	}
	var asked sync.WaitGroup
	code := p.main(func(ctx context.Context, _ string) (*Worker, error) {
		if status, text := answered(t, at+"/livez"); status != http.StatusOK || !strings.Contains(text, "is starting") {
			t.Errorf("/livez = %d, %q while it starts, want 200", status, text)
		}
		if status, text := answered(t, at+"/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(text, "is starting") {
			t.Errorf("/readyz = %d, %q while it starts, want 503", status, text)
		}
		if status, _ := answered(t, at+"/metrics"); status != http.StatusNotFound {
			t.Errorf("/metrics = %d while it starts, want 404", status)
		}
		if code, line := probed(path); code != 0 || !strings.Contains(line, "is starting") {
			t.Errorf("healthcheck: %d, %q while it starts, want 0", code, line)
		}
		if code, line := probed(path, "-ready"); code != 1 {
			t.Errorf("healthcheck -ready: %d, %q while it starts, want 1", code, line)
		}
		m := new(reliable.Monitor)
		told := make(chan string, 1)
		reliable.Subscribe(m, func(e *reliable.Started) { told <- e.Worker })
		asked.Go(func() {
			id := <-told
			status, text := answered(t, at+"/readyz")
			if status != http.StatusOK || !strings.HasPrefix(text, "worker "+id+" is running: 0 busy") {
				t.Errorf("/readyz = %d, %q, want 200 and worker %s", status, text, id)
			}
			if status, text := answered(t, at+"/metrics"); status != http.StatusOK || text != "up 1" {
				t.Errorf("/metrics = %d, %q, want the program's own", status, text)
			}
			for range 1000 { // it is written in a moment
				if code, line := probed(path, "-ready"); code == 0 && strings.Contains(line, "worker "+id+" is running") {
					break
				}
				<-time.After(10 * time.Millisecond)
			}
			if code, line := probed(path, "-ready"); code != 0 {
				t.Errorf("healthcheck -ready: %d, %q, want 0", code, line)
			}
			p.signals <- syscall.SIGTERM
		})
		db := url.Open(t)
		r := new(reliable.Registry)
		reliable.AfterCreateCommit(r, "x", func(context.Context, reliable.Change[thing]) error { return nil })
		if err := db.Use(reliable.New(reliable.Config{Registry: r, Monitor: m})); err != nil {
			return nil, err
		}
		metrics := http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(out, "up 1\n") })
		return &Worker{DB: db, Metrics: metrics}, migrations.Up(context.WithoutCancel(ctx), db)
	})
	asked.Wait()
	if code != ExitClean {
		t.Errorf("main() = %d, want %d; it wrote\n%s", code, ExitClean, &out)
	}
	if code, line := probed(path); code != 1 || !strings.Contains(line, "is not there") {
		t.Errorf("healthcheck: %d, %q, want no heartbeat at the end", code, line)
	}
	if status, text := answered(t, at+"/livez"); status != 0 {
		t.Errorf("/livez = %d, %q, want that nobody listens at the end", status, text)
	}
}

// What a program says of itself beats the environment, also in this.
func TestHeartbeatOfTheProgram(t *testing.T) {
	dir := t.TempDir()
	url := testdb.New(t, testdb.SQLite)
	var out bytes.Buffer
	p := program{environ: []string{"DATABASE_URL=" + url.URL, "RELIABLE_HEARTBEAT_FILE=" + filepath.Join(dir, "environment")}, errors: &out, signals: make(chan os.Signal)}
	code := p.main(func(ctx context.Context, _ string) (*Worker, error) {
		m := new(reliable.Monitor)
		reliable.Subscribe(m, func(*reliable.Started) {
			if code, line := probed(filepath.Join(dir, "program")); code != 0 {
				t.Errorf("healthcheck: %d, %q, want the program's heartbeat", code, line)
			}
			if code, _ := probed(filepath.Join(dir, "environment")); code != 1 {
				t.Error("the environment's heartbeat is there, want that of the program alone")
			}
			p.signals <- syscall.SIGTERM
		})
		db := url.Open(t)
		if err := db.Use(reliable.New(reliable.Config{Registry: new(reliable.Registry), AllModels: true, Monitor: m})); err != nil {
			return nil, err
		}
		w := &Worker{DB: db, HeartbeatFile: filepath.Join(dir, "program"), StartTimeout: time.Hour}
		_ = w.Handler() // of a server of its own
		return w, migrations.Up(context.WithoutCancel(ctx), db)
	})
	if code != ExitClean {
		t.Errorf("main() = %d, want %d; it wrote\n%s", code, ExitClean, &out)
	}
}

// A program that does not start in time ends with an error, whether what it
// waits for heeds its context or not (69).
func TestMainDoesNotStart(t *testing.T) {
	for name, heeds := range map[string]bool{"heeds its context": true, "does not": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				exited, over := 0, make(chan struct{})
				path := filepath.Join(t.TempDir(), "heartbeat")
				p := program{
					environ: []string{"DATABASE_URL=x://y/z", "RELIABLE_START_TIMEOUT=30s", "RELIABLE_HEARTBEAT_FILE=" + path}, errors: &out,
					signals: make(chan os.Signal), exit: func(code int) { exited = code; close(over) },
				}
				begun := time.Now()
				code := p.main(func(ctx context.Context, _ string) (*Worker, error) {
					if heeds {
						<-ctx.Done()
						return nil, ctx.Err()
					}
					<-over
					return nil, errors.New("at last")
				})
				want, limit := 0, 30*time.Second
				if !heeds {
					want, limit = ExitFailure, 30*time.Second+startGrace
				}
				if took := time.Since(begun); code != ExitFailure || exited != want || took != limit {
					t.Errorf("main() = %d, exit %d, after %s, want %d, %d, after %s", code, exited, took, ExitFailure, want, limit)
				}
				if !strings.Contains(out.String(), "not started within 30s (RELIABLE_START_TIMEOUT)") {
					t.Errorf("it wrote\n%s\nwant the variable and the time", &out)
				}
			})
		})
	}
}

// What stands in the way of being seen is told before anything else is tried (68).
func TestMainCannotShow(t *testing.T) {
	for variable, want := range map[string]string{
		"RELIABLE_HEARTBEAT_FILE=/proc/heartbeat": "worker: RELIABLE_HEARTBEAT_FILE=/proc/heartbeat: a heartbeat can't be written there",
		"PORT=80":                  "worker: PORT=80: address already in use",
		"PORT=http":                `worker: PORT="http": want a whole number from 1 to 65535 (example: PORT=8080)`,
		"PORT=70000":               `worker: PORT="70000": want a whole number`,
		"RELIABLE_START_TIMEOUT=0": `worker: RELIABLE_START_TIMEOUT="0s": want a duration from 1s to 24h`,
	} {
		var out bytes.Buffer
		p := program{
			environ: []string{"DATABASE_URL=x://y/z", variable}, errors: &out, signals: make(chan os.Signal),
			listen: func(string, string) (net.Listener, error) { return nil, syscall.EADDRINUSE },
		}
		code := p.main(func(context.Context, string) (*Worker, error) {
			t.Errorf("%s: it opens its database", variable)
			return nil, gorm.ErrInvalidDB
		})
		if code != ExitConfiguration || !strings.Contains(out.String(), want) {
			t.Errorf("%s: main() = %d and wrote\n%swant %d and %q", variable, code, &out, ExitConfiguration, want)
		}
	}
}
