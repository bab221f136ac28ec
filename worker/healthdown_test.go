package worker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gorm-aftercommit/aftercommit/healthcheck"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb/proxy"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/processors/redislock"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// ask runs command healthcheck on a heartbeat.
func ask(path string) (code int, line string) {
	var out bytes.Buffer
	code = healthcheck.Main([]string{path}, os.Getenv, &out, &out)
	return code, strings.TrimSpace(out.String())
}

// aged returns the path of a copy of a heartbeat that is as old as it will be
// by then.
func aged(t *testing.T, path string, by time.Duration) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]any)
	if err := json.Unmarshal(text, &values); err != nil {
		t.Fatal(err)
	}
	if up, ok := values["uptime_ms"].(float64); ok {
		values["uptime_ms"] = int64(up) - by.Milliseconds()
	} else {
		values["written"] = time.Now().Add(-by)
	}
	if text, err = json.Marshal(values); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "heartbeat")
	if err := os.WriteFile(copied, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return copied
}

// With the database and Redis down, of eight threads the one that is stuck is
// told from those that are busy, and liveness from readiness (67).
func TestStuckWhileAllIsDown(t *testing.T) {
	services := map[testdb.Dialect]testdb.Service{testdb.Postgres: testdb.PostgreSQL, testdb.MySQL: testdb.MariaDB}
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		service, remote := services[d]
		if !remote {
			return // what is down when SQLite is, is the worker
		}
		begun, done := make(chan uint, 10), make(chan struct{})
		run := func(_ context.Context, c reliable.Change[Order]) error {
			begun <- c.Model.ID
			<-done
			return nil
		}
		r := new(reliable.Registry)
		reliable.AfterCommit(r, reliable.Callback[Order]{Name: "quick", Timeout: 200 * time.Millisecond, NoModel: true, Backoff: soon, If: func(c reliable.Change[Order]) bool { return c.Model.ID == 3 }, Run: run})
		reliable.AfterCommit(r, reliable.Callback[Order]{Name: "slow", Timeout: time.Hour, Backoff: soon, If: func(c reliable.Change[Order]) bool { return c.Model.ID != 3 }, Run: run})
		url := testdb.New(t, d)
		near := openWith(t, url, reliable.Config{Registry: r, CausalityKey: keyOfOrder})
		address, prefix := testdb.NewRedis(t)
		database, locks := proxy.Start(t, service, url.URL), proxy.Start(t, testdb.Redis, address)
		far := testdb.DB{Dialect: d, URL: database.URL(url.URL)}.Open(t)
		if err := far.Use(reliable.New(reliable.Config{Registry: r, CausalityKey: keyOfOrder})); err != nil {
			t.Fatal(err)
		}
		options, err := redis.ParseURL(locks.URL(address))
		if err != nil {
			t.Fatal(err)
		}
		options.ContextTimeoutEnabled, options.MaxRetries = true, -1
		client := redis.NewClient(options)
		defer func() { _ = client.Close() }()
		locker, err := redislock.New(client)
		if err != nil {
			t.Fatal(err)
		}
		locker.Prefix = prefix
		if err := near.Create(make([]Order, 6)).Error; err != nil {
			t.Fatal(err)
		}
		w := &worker.Worker{
			DB: far, Threads: 8, PollInterval: 20 * time.Millisecond, HeartbeatFile: filepath.Join(t.TempDir(), "heartbeat"),
			Processor: &processors.OrderedByCausalityKey{Locker: locker, LeaseTTL: time.Minute, Assignment: lanesOfOrders{}},
		}
		h := w.Handler()
		stop := start(t, w)
		defer func() { database.Up(); locks.Up(); _ = stop() }()
		defer close(done)
		for range 6 {
			<-begun
		}
		eventually(t, "it is ready", func() bool { status, _ := get(h, "/readyz"); return status == http.StatusOK })
		database.Down()
		locks.Down()
		eventually(t, "the database is down", func() bool { status, _ := get(h, "/readyz"); return status == http.StatusServiceUnavailable })
		if status, text := get(h, "/readyz"); !strings.Contains(text, "does not take the worker's writes") {
			t.Errorf("/readyz = %d, %q, want the database", status, text)
		}
		eventually(t, "the heartbeat shows it", func() bool {
			_, line := ask(w.HeartbeatFile)
			return strings.HasSuffix(line, " is running: 6 busy, 0 waiting, 2 idle")
		})
		if code, line := ask(w.HeartbeatFile); code != 0 {
			t.Errorf("healthcheck: %d, %q, want 0 while all are inside their deadlines", code, line)
		}
		if status, text := get(h, "/livez"); status != http.StatusOK {
			t.Errorf("/livez = %d, %q, want 200", status, text)
		}
		const later = healthcheck.Margin + time.Second // by when only one has had too much time
		code, line := ask(aged(t, w.HeartbeatFile, later))
		if code != 1 || !regexp.MustCompile(`^unhealthy: executor \d of worker \w+ is stuck: busy with quick for \S+, \S+ past its deadline$`).MatchString(line) {
			t.Errorf("healthcheck: %d, %q, want 1 and the one that is stuck", code, line)
		}
		if err := w.Health().Err(later); err == nil || !strings.Contains(err.Error(), "busy with quick") {
			t.Errorf("Err(later) = %v, want the one that is stuck", err)
		}
	})
}

// lanesOfOrders is an assignment of the first orders' lanes: to lock all of
// them takes a while.
type lanesOfOrders struct{}

// Lanes implements processors.Assignment.
func (lanesOfOrders) Lanes(processors.LaneView) (lanes []int) {
	for id := range uint(6) {
		lanes = append(lanes, int(reliable.LaneOf(keyOfOrder(context.Background(), &Order{ID: id + 1}))))
	}
	return lanes
}

// keyOfOrder gives each order a causality key of its own.
func keyOfOrder(_ context.Context, model any) string {
	if o, ok := model.(*Order); ok {
		return string(rune('a' + o.ID))
	}
	return ""
}

// The heartbeat is there from the begin to the end, and not afterwards; a second
// worker does not take it.
func TestHeartbeatFile(t *testing.T) {
	db := jobs(t, nil)
	path := filepath.Join(t.TempDir(), "heartbeat")
	w := &worker.Worker{DB: db, Processor: new(fake), HeartbeatFile: path}
	stop := start(t, w)
	eventually(t, "it runs", func() bool { _, line := ask(path); return strings.Contains(line, "is running") })
	for name, other := range map[string]string{"the same file": path, "no directory": filepath.Join(path, "heartbeat")} {
		if err := (&worker.Worker{DB: db, Processor: new(fake), HeartbeatFile: other}).Run(t.Context()); err == nil || !strings.Contains(err.Error(), healthcheck.Variable+"="+other) {
			t.Errorf("%s: Run() = %v, want an error that names the file", name, err)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if code, line := ask(path); code != 1 || !strings.Contains(line, "is not there") {
		t.Errorf("healthcheck: %d, %q, want no heartbeat after the end", code, line)
	}
}

// A worker goes on if its heartbeat can't be written any more, and tells.
func TestHeartbeatLost(t *testing.T) {
	db := jobs(t, nil)
	dir := filepath.Join(t.TempDir(), "run")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	told := events(t, db, func(e *reliable.ErrorOccurred) bool { return e.Step == "heartbeat file" })
	w := &worker.Worker{DB: db, Processor: new(fake), HeartbeatFile: dir}
	stop := start(t, w)
	eventually(t, "it runs", func() bool { _, line := ask(dir); return strings.Contains(line, "is running") })
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it tells", func() bool { return told.Load() > 0 })
	if err := w.Health().Err(0); err != nil {
		t.Errorf("Err() = %v, want nil", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
