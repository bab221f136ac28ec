package reliabledatadog_test

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gorm-aftercommit/aftercommit/contrib/reliabledatadog"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const canary = "c4n4ry"

// secret is an error whose text must not leave.
type secret struct{}

func (*secret) Error() string { return "postgres://shop:" + canary + "@db/shop: " + canary }

// events are one of each kind, with secrets wherever something is that may be
// one.
func events() []reliable.Event {
	entry := &reliable.OutboxEntry{
		ID: 7, Context: "gorm", ResourceClass: "Order", ResourceID: canary, EventName: "order_created", CausalityKey: canary,
		Changeset: []byte(`{"after":{"note":"` + canary + `"}}`), Arguments: []byte(`["` + canary + `"]`), Headers: []byte(`{"token":"` + canary + `"}`),
		CreatedAt: time.Now().Add(-time.Hour), Callbacks: []byte(`{"receipt":{"error":"` + canary + `"}}`),
	}
	err := fmt.Errorf("send: %w", &secret{})
	return []reliable.Event{
		&reliable.Started{Worker: canary, Threads: 8, Processor: "ordered"},
		&reliable.BatchClaimed{Worker: canary, Entries: 500, Took: 20 * time.Millisecond},
		&reliable.EntryProcessed{Entry: entry, Results: []reliable.Result{
			{Callback: "receipt", Took: 250 * time.Millisecond},
			{Callback: "index", Err: err},
			{Callback: "later", Snoozed: true},
		}},
		&reliable.EntryFailed{Entry: entry, Callback: "receipt", Attempt: 1, Err: err, RetryAt: time.Now(), Took: time.Second},
		&reliable.EntryFailed{Entry: entry, Callback: "receipt", Attempt: 2, Err: err, Took: 3 * time.Second},
		&reliable.EntryDied{Entry: entry, ErrorClass: "*mail.Error", ErrorMessage: canary},
		&reliable.EntryDiscarded{Entry: entry, Callback: "receipt", Reason: canary},
		&reliable.KeyParked{Key: canary, Entry: entry, ErrorClass: "crash", ErrorMessage: canary},
		&reliable.KeyReleased{Key: canary, How: "retry"},
		&reliable.EntriesChanged{IDs: []int64{1, 2, 3}, How: "discard"},
		&reliable.EntriesRescued{Worker: canary, Entries: 12, Died: 1},
		&reliable.LeaseLost{Worker: canary, Entries: 4},
		&reliable.OrphansFound{Context: "gorm", ResourceClass: "Invoice", EventName: "invoice|sent,now\n", Owed: []string{canary}, Entries: 30},
		&reliable.BreakerOpened{Context: "gorm", ResourceClass: "Order", Callback: "receipt", Err: err},
		&reliable.BreakerOpened{Context: "billing", Callback: "ledger", Err: err},
		&reliable.BreakerClosed{Context: "billing", Callback: "ledger"},
		&reliable.WorkPaused{Pause: reliable.Pause{Reason: canary, Model: canary}},
		&reliable.WorkResumed{Pause: reliable.Pause{Reason: canary, Model: canary}},
		&reliable.ErrorOccurred{Worker: canary, Step: "housekeeping: lease", Err: err},
		&reliable.WakeupDegraded{Worker: canary, Err: err},
		&reliable.HeartbeatSent{Worker: canary, Took: 5 * time.Millisecond},
		&reliable.WakeupRestored{Worker: canary},
		&reliable.HistoryPruned{Table: "outbox_history_20260101", Rows: 2500, Bytes: 4096, Took: 2 * time.Second},
		&reliable.BloatFound{Table: "outbox_entries", Holders: []reliable.HorizonHolder{{User: canary, Application: canary}}},
		&reliable.BloatCleared{Table: "outbox_entries"},
		&reliable.LatencyMeasured{
			Oldest: 90 * time.Second, Overdue: time.Second, Processed: 3,
			Minimum: time.Millisecond, Maximum: 2500 * time.Millisecond, Average: 500 * time.Millisecond,
		},
		&reliable.OutboxMeasured{
			Pending: reliable.Gauge{N: 1_200_000, Approx: true}, Eligible: reliable.Gauge{N: 1_100_000, Approx: true}, Waiting: reliable.Gauge{N: 99_000}, Held: reliable.Gauge{N: 1000},
			Dead: reliable.Gauge{N: 5}, ParkedKeys: reliable.Gauge{N: 2}, Orphans: reliable.Gauge{N: 30},
			OldestEligible: time.Minute, OldestDead: 24 * time.Hour, OldestParked: time.Hour, OldestOrphan: 90 * time.Minute, Workers: 3, Threads: 24, Pauses: 1, DeadRows: 7000,
		},
		&reliable.ShuttingDown{Worker: canary, Cause: err},
		&reliable.Stopped{Worker: canary, Err: err},
	}
}

// receive publishes the events and returns what a sink got.
func receive(t *testing.T, m reliabledatadog.Metrics, events []reliable.Event) (bytes string, metrics []metric) {
	t.Helper()
	s := listen(t)
	t.Setenv("DD_ENV", "production")
	t.Setenv("DD_SERVICE", "shop")
	t.Setenv("DD_VERSION", "1.2.3")
	t.Setenv("DD_TAGS", "team:orders, region:eu env:ignored")
	var monitor reliable.Monitor
	stop, err := m.Subscribe(&monitor)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		monitor.Publish(e)
	}
	if err := errors.Join(monitor.Flush(t.Context()), stop(t.Context()), stop(t.Context())); err != nil {
		t.Fatal(err)
	}
	return s.await(t)
}

// Every metric has its name, type, unit and tags, and no other.
func TestMetrics(t *testing.T) {
	_, metrics := receive(t, reliabledatadog.Metrics{Tags: []string{"shard:a"}, Pools: map[string]*sql.DB{"app": pool(t)}}, events())
	const common = "env:production,region:eu,service:shop,shard:a,team:orders,version:1.2.3"
	sorted := func(tags string) string {
		list := slices.DeleteFunc(strings.Split(tags+","+common, ","), func(s string) bool { return s == "" })
		slices.Sort(list)
		return strings.Join(list, ",")
	}
	const order, receipt = "context:gorm,event:order_created,model:Order", "context:gorm,event:order_created,model:Order,callback:receipt"
	want := []string{}
	add := func(name, kind string, value float64, tags string) {
		want = append(want, metric{name, kind, sorted(tags), value}.String())
	}
	add("reliable.worker.started", "c", 1, "processor:ordered")
	add("reliable.worker.stopped", "c", 1, "clean:false")
	add("reliable.batch.claimed", "c", 1, "")
	add("reliable.batch.entries", "d", 500, "")
	add("reliable.batch.claim_duration", "d", 0.02, "")
	add("reliable.entry.processed", "c", 1, order)
	add("reliable.callback.duration", "d", 0.25, receipt+",result:succeeded")
	add("reliable.callback.duration", "d", 1, receipt+",result:failed")
	add("reliable.callback.duration", "d", 3, receipt+",result:failed")
	add("reliable.callback.failed", "c", 1, receipt+",error:reliabledatadog_test.secret,final:false")
	add("reliable.callback.failed", "c", 1, receipt+",error:reliabledatadog_test.secret,final:true")
	add("reliable.callback.discarded", "c", 1, receipt)
	add("reliable.entry.died", "c", 1, order+",error:mail.Error")
	add("reliable.key.parked", "c", 1, order+",error:crash")
	add("reliable.key.released", "c", 1, "how:retry")
	add("reliable.entries.changed", "c", 3, "how:discard")
	add("reliable.entries.rescued", "c", 12, "")
	add("reliable.entries.crashed", "c", 1, "")
	add("reliable.lease.lost", "c", 1, "")
	add("reliable.lease.lost_entries", "c", 4, "")
	add("reliable.orphans.found", "g", 30, "context:gorm,model:Invoice,event:invoice_sent_now_")
	add("reliable.breaker.opened", "c", 1, "context:gorm,model:Order,callback:receipt,error:reliabledatadog_test.secret")
	add("reliable.breaker.opened", "c", 1, "context:billing,model:none,callback:ledger,error:reliabledatadog_test.secret")
	add("reliable.breaker.open", "g", 1, "context:gorm,model:Order,callback:receipt")
	add("reliable.breaker.open", "g", 0, "context:billing,model:none,callback:ledger")
	add("reliable.work.paused", "c", 1, "")
	add("reliable.work.resumed", "c", 1, "")
	add("reliable.error", "c", 1, "step:housekeeping_lease,error:reliabledatadog_test.secret")
	add("reliable.wakeup.degraded", "g", 0, "")
	add("reliable.heartbeat.sent", "c", 1, "")
	add("reliable.heartbeat.duration", "d", 0.005, "")
	add("reliable.history.pruned_rows", "c", 2500, "")
	add("reliable.history.pruned_bytes", "c", 4096, "")
	add("reliable.history.prune_duration", "d", 2, "")
	add("reliable.bloat.found", "c", 1, "table:outbox_entries")
	add("reliable.bloat.cleared", "c", 1, "table:outbox_entries")
	for name, value := range map[string]float64{
		"latency.minimum": 0.001, "latency.maximum": 2.5, "latency.average": 0.5, "latency.highest_since_creation_date": 90, "latency.overdue": 1,
		"entries.pending": 1_200_000, "entries.eligible": 1_100_000, "entries.waiting": 99_000, "entries.held": 1000, "entries.dead": 5, "entries.orphans": 30, "entries.estimates": 2,
		"keys.parked": 2, "oldest.eligible": 60, "oldest.dead": 86400, "oldest.parked": 3600, "oldest.orphan": 5400, "workers": 3, "threads": 24, "pauses": 1, "table.dead_rows": 7000,
	} {
		add("reliable."+name, "g", value, "")
	}
	add("reliable.pool.in_use", "g", 0, "pool:app")
	add("reliable.pool.idle", "g", 0, "pool:app")
	add("reliable.pool.limit", "g", 3, "pool:app")
	add("reliable.pool.waits", "c", 0, "pool:app")
	add("reliable.pool.wait_milliseconds", "c", 0, "pool:app")
	add("reliable.monitor.dropped", "c", 0, "")

	last := make(map[string]metric) // a gauge may be sent more than once
	for _, m := range metrics {
		key := m.name + m.tags
		if m.kind == "d" {
			key = m.String()
		}
		if m.kind == "c" {
			m.value += last[key].value
		}
		last[key] = m
	}
	got := []string{}
	for _, m := range last {
		if m.name == "reliable.entry.latency" {
			if m.kind != "d" || m.tags != sorted(order) || m.value < 3600 || m.value > 3700 {
				t.Errorf("%s, want an hour with the entry's tags", m)
			}
			continue
		}
		got = append(got, m.String())
	}
	slices.Sort(got)
	slices.Sort(want)
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("missing: %s", line)
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("too much: %s", line)
		}
	}
}

// Nothing secret, and no id, is in what is sent (76).
func TestNoSecrets(t *testing.T) {
	bytes, _ := receive(t, reliabledatadog.Metrics{}, events())
	if len(bytes) < 1000 || strings.Contains(bytes, canary) {
		t.Errorf("the sink got\n%s\nwant metrics without %s", bytes, canary)
	}
}

// A tag has a bounded number of values, however many names a table holds.
func TestTagsAreBounded(t *testing.T) {
	var many []reliable.Event
	for i := range 2000 {
		many = append(many, &reliable.OrphansFound{Context: "gorm", EventName: fmt.Sprintf("event_%d", i), Entries: 1})
	}
	_, metrics := receive(t, reliabledatadog.Metrics{}, append(many, &reliable.Stopped{}))
	values := make(map[string]bool)
	for _, m := range metrics {
		for tag := range strings.SplitSeq(m.tags, ",") {
			if name, ok := strings.CutPrefix(tag, "event:"); ok {
				values[name] = true
			}
		}
	}
	if len(values) != 501 || !values["other"] || !values["event_0"] {
		t.Errorf("%d values of event, want 500 and other", len(values))
	}
}

// The code of docs/monitoring.md stands in examples.
func TestDocumentedCode(t *testing.T) {
	var examples string
	for _, file := range []string{"example_test.go", "../reliablesentry/example_test.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		examples += string(text)
	}
	text, err := os.ReadFile("../../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```go\n")[1:]
	for _, block := range blocks {
		code, _, _ := strings.Cut(block, "```")
		for line := range strings.Lines(code) {
			if !strings.Contains(examples, strings.TrimSpace(line)) {
				t.Errorf("docs/monitoring.md has the line %q, no example has", line)
			}
		}
	}
	if len(blocks) != 3 {
		t.Errorf("%d blocks of code, want 3", len(blocks))
	}
}

// docs/monitoring.md lists the metrics with their types.
func TestDocumentation(t *testing.T) {
	_, metrics := receive(t, reliabledatadog.Metrics{Pools: map[string]*sql.DB{"app": pool(t)}}, events())
	text, err := os.ReadFile("../../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]string{"c": "count", "g": "gauge", "d": "distribution"}
	sent := make(map[string]bool)
	for _, m := range metrics {
		sent[m.name] = true
		row := regexp.MustCompile("(?m)^\\| `" + regexp.QuoteMeta(m.name) + "` \\| " + types[m.kind] + " \\| \\S.* \\| \\S.* \\|$")
		if !row.Match(text) {
			t.Errorf("docs/monitoring.md has no row for %s, a %s", m.name, types[m.kind])
		}
	}
	for _, name := range regexp.MustCompile("(?m)^\\| `(reliable\\.[a-z_.]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		if !sent[name[1]] {
			t.Errorf("docs/monitoring.md has a row for %s, which is not sent", name[1])
		}
	}
}

func pool(t *testing.T) *sql.DB {
	t.Helper()
	pool, err := testdb.New(t, testdb.SQLite).Open(t).DB()
	if err != nil {
		t.Fatal(err)
	}
	pool.SetMaxOpenConns(3)
	pool.SetMaxIdleConns(0)
	return pool
}
