package reliableotel_test

import (
	"errors"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// rareEvents are those that a short life of a worker does not have, with
// secrets wherever there is text of an application.
func rareEvents() []reliable.Event {
	e := &reliable.OutboxEntry{Context: "mail", ResourceClass: canary, ResourceID: canary, EventName: canary, CausalityKey: canary, CreatedAt: time.Now().Add(time.Hour)}
	err := errors.New(canary)
	return []reliable.Event{
		&reliable.EntriesRescued{Entries: 3, Died: 1},
		&reliable.LeaseLost{Entries: 2},
		&reliable.KeyParked{Key: canary, Entry: e, ErrorClass: "crash", ErrorMessage: canary},
		&reliable.KeyReleased{Key: canary, How: "retry"},
		&reliable.BreakerOpened{Context: "mail", Callback: "send", Err: err},
		&reliable.ErrorOccurred{Step: "claim", Err: err},
		&reliable.HistoryPruned{Rows: 5, Bytes: 6, Took: time.Second},
		&reliable.LatencyMeasured{Worker: "w", Oldest: 4 * time.Second, Overdue: 5 * time.Second, Backlog: 6, Processed: 7, Minimum: time.Second, Maximum: 3 * time.Second, Average: 2 * time.Second},
		&reliable.OutboxMeasured{Worker: "w", Pending: reliable.Gauge{N: 123_456, Approx: true}, OldestDead: 8 * time.Second, DeadRows: 9},
		&reliable.WakeupDegraded{Worker: "w", Err: err},
		&reliable.EntryProcessed{Entry: e}, // of a database whose clock is ahead
	}
}

// wantMetrics are all metrics: kind, unit, attributes; and the sum of the
// values where the test knows it.
var wantMetrics = map[string]string{
	"reliable.entries.processed":                   "counter {entry} reliable.context,reliable.model =",
	"reliable.entries.died":                        "counter {entry} error.type,reliable.context,reliable.model =2",
	"reliable.entries.rescued":                     "counter {entry} =3",
	"reliable.entries.lost":                        "counter {entry} =2",
	"reliable.leases.lost":                         "counter {lease} =1",
	"reliable.keys.parked":                         "counter {key} reliable.context =1",
	"reliable.keys.released":                       "counter {key} reliable.how =1",
	"reliable.callback.failures":                   "counter {failure} error.type,reliable.callback,reliable.context,reliable.model =5",
	"reliable.callback.discards":                   "counter {discard} reliable.callback,reliable.context,reliable.model =1",
	"reliable.callback.duration":                   "histogram s reliable.callback,reliable.context,reliable.model,reliable.verdict =12",
	"reliable.entry.duration":                      "histogram s reliable.context,reliable.model =",
	"reliable.batch.size":                          "histogram {entry} =",
	"reliable.claim.duration":                      "histogram s =",
	"reliable.heartbeat.duration":                  "histogram s =",
	"reliable.breaker.trips":                       "counter {trip} reliable.callback,reliable.context =1",
	"reliable.breaker.open":                        "gauge {breaker} reliable.callback,reliable.context =1",
	"reliable.worker.errors":                       "counter {error} error.type,reliable.step =",
	"reliable.history.pruned.rows":                 "counter {row} =5",
	"reliable.history.pruned.size":                 "counter By =6",
	"reliable.history.prune.duration":              "histogram s =1",
	"reliable.latency.minimum":                     "gauge s =1",
	"reliable.latency.average":                     "gauge s =2",
	"reliable.latency.maximum":                     "gauge s =3",
	"reliable.latency.overdue":                     "gauge s =5",
	"reliable.backlog":                             "gauge {entry} =6",
	"reliable.outbox.pending":                      "gauge {entry} =123456",
	"reliable.outbox.eligible":                     "gauge {entry} =0",
	"reliable.outbox.waiting":                      "gauge {entry} =0",
	"reliable.outbox.held":                         "gauge {entry} =0",
	"reliable.outbox.dead":                         "gauge {entry} =0",
	"reliable.outbox.parked":                       "gauge {key} =0",
	"reliable.outbox.orphans":                      "gauge {entry} =0",
	"reliable.outbox.workers":                      "gauge {worker} =0",
	"reliable.outbox.threads":                      "gauge {thread} =0",
	"reliable.outbox.pauses":                       "gauge {pause} =0",
	"reliable.outbox.dead_rows":                    "gauge {row} =9",
	"reliable.outbox.age.eligible":                 "gauge s =0",
	"reliable.outbox.age.dead":                     "gauge s =8",
	"reliable.outbox.age.parked":                   "gauge s =0",
	"reliable.outbox.age.orphans":                  "gauge s =0",
	"reliable.process.workers":                     "gauge {worker} =0",
	"reliable.process.threads":                     "gauge {thread} =0",
	"reliable.process.unwoken":                     "gauge {worker} =1",
	"reliable.pool.connections":                    "gauge {connection} reliable.pool,reliable.state =",
	"reliable.pool.limit":                          "gauge {connection} reliable.pool =",
	"reliable.pool.waits":                          "counter {wait} reliable.pool =",
	"reliable.pool.wait.duration":                  "counter s reliable.pool =",
	"reliable.monitor.events.dropped":              "counter {event} =0",
	"reliable.latency.highest_since_creation_date": "gauge s =4",
}

// checkMetrics compares what was exported with wantMetrics.
func (c *collector) checkMetrics(t *testing.T) {
	t.Helper()
	for name, want := range wantMetrics {
		m := c.metrics[name]
		if m == nil {
			t.Errorf("metric %s is not exported", name)
			continue
		}
		got := describe(m)
		if strings.HasSuffix(want, "=") {
			got, _, _ = strings.Cut(got, "=")
			got += "="
		}
		if got != want || m.Description == "" {
			t.Errorf("metric %s is %q (%s), want %q", name, got, m.Description, want)
		}
	}
	for name := range c.metrics {
		if _, ok := wantMetrics[name]; !ok {
			t.Errorf("metric %s is exported and not known", name)
		}
	}
}

// describe returns a metric's kind, unit and attributes, and the sum of its
// values; of a histogram, how many there are.
func describe(m *metricspb.Metric) string {
	keys := make(map[string]bool)
	note := func(attributes []*commonpb.KeyValue) {
		for _, a := range attributes {
			keys[a.Key] = true
		}
	}
	sum := 0.0
	kind := "gauge"
	points := m.GetGauge().GetDataPoints()
	switch {
	case m.GetHistogram() != nil:
		kind = "histogram"
		for _, p := range m.GetHistogram().DataPoints {
			note(p.Attributes)
			sum += float64(p.Count)
			if p.GetMin() < 0 {
				kind = "negative histogram"
			}
		}
	case m.GetSum() != nil:
		kind = "counter"
		points = m.GetSum().DataPoints
	}
	for _, p := range points {
		note(p.Attributes)
		sum += p.GetAsDouble() + float64(p.GetAsInt())
	}
	parts := []string{kind, m.Unit}
	if len(keys) > 0 {
		parts = append(parts, strings.Join(slices.Sorted(maps.Keys(keys)), ","))
	}
	return strings.Join(parts, " ") + " =" + strconv.FormatFloat(sum, 'f', -1, 64)
}

// The page lists every metric, with its unit and the name that Prometheus has
// for it, and no other.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/opentelemetry.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string]string)
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(line, "|")
		if len(cells) > 4 && strings.HasPrefix(cells[1], " `reliable.") {
			documented[strings.Trim(cells[1], " `")] = strings.Trim(cells[2], " `")
		}
	}
	for name, want := range wantMetrics {
		fields := strings.Fields(want)
		if documented[name] != fields[1] {
			t.Errorf("the page has the metric %s with unit %q, want %q", name, documented[name], fields[1])
		}
		delete(documented, name)
	}
	if len(documented) > 0 {
		t.Errorf("the page has metrics that there are not: %v", documented)
	}
}
