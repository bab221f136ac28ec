package worker_test

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/healthcheck"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/outbox"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// A worker whose work is paused is healthy and ready, however long that lasts
// (67).
func TestPausedIsHealthy(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		p := newPausable(t, d)
		p.orders(t, 3)
		if err := p.outbox.Pause(t.Context(), outbox.Selector{Model: "Order"}, "a migration"); err != nil {
			t.Fatal(err)
		}
		w := &worker.Worker{DB: p.DB, Threads: 2, PollInterval: 20 * time.Millisecond, HeartbeatFile: filepath.Join(t.TempDir(), "heartbeat")}
		start(t, w)
		p.hears(t)
		p.goesOn(t)
		eventually(t, "it has nothing to do", func() bool { return strings.HasSuffix(w.Health().String(), "0 busy, 0 waiting, 2 idle") })
		before := deadlinesOf(w.Health())
		eventually(t, "its threads have shown themselves again", func() bool {
			for name, deadline := range deadlinesOf(w.Health()) {
				if !deadline.After(before[name]) {
					return false
				}
			}
			return true
		})
		if code, line := ask(w.HeartbeatFile); code != 0 {
			t.Errorf("healthcheck: %d, %q, want 0", code, line)
		}
		if status, text := get(w.Handler(), "/readyz"); status != http.StatusOK {
			t.Errorf("/readyz = %d, %q, want 200", status, text)
		}
		if n := p.mail.calls.Load(); n != 0 {
			t.Errorf("%d mails while it is paused, want 0", n)
		}
	})
}

// deadlinesOf returns by when the executors have to show themselves.
func deadlinesOf(r *healthcheck.Report) map[string]time.Time {
	found := make(map[string]time.Time)
	for _, thread := range r.Threads {
		if strings.HasPrefix(thread.Name, "executor") {
			found[thread.Name] = thread.Deadline
		}
	}
	return found
}

// leaking is a fake whose writes fail with what nobody may see.
type leaking struct {
	*fake
	err error
}

// Probe implements processors.Prober.
func (l leaking) Probe(context.Context) error { return l.err }

// Whoever can reach the port or read the heartbeat learns no secret from them:
// not what the database says, nor what callbacks fail with (76).
func TestHealthTellsNoSecret(t *testing.T) {
	const canary = "CanaryHunter2"
	leak := errors.New("dial postgres://ann:" + canary + "@db/shop: " + canary)
	f := leaking{new(fake), leak}
	f.claim = func(context.Context) error {
		if len(f.due) == 0 {
			return leak
		}
		return nil
	}
	f.put(1)
	path := filepath.Join(t.TempDir(), "heartbeat")
	w := &worker.Worker{DB: jobs(t, func(context.Context, int64) error { panic(leak) }), Processor: f, HeartbeatFile: path}
	stop := start(t, w)
	h := w.Handler()
	eventually(t, "the callback has failed", func() bool { return len(f.durable()) == 1 })
	var told []string
	eventually(t, "it is not ready", func() bool {
		status, text := get(h, "/readyz")
		told = append(told, text)
		return status == http.StatusServiceUnavailable && strings.Contains(text, "does not take the worker's writes")
	})
	for _, path := range []string{"/livez", "/metrics", "/" + canary, "/readyz?x=" + canary} {
		_, text := get(h, path)
		told = append(told, text)
	}
	_, line := ask(path)
	told = append(told, line, w.Health().String())
	if err := stop(); err != nil {
		t.Error(err)
	}
	if text := strings.Join(told, "\n"); strings.Contains(text, canary) || len(text) < 100 {
		t.Errorf("it told\n%s\nwant no %s", text, canary)
	}
}
