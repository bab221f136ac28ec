package reliabledatadog

import (
	"database/sql"
	"maps"
	"slices"
	"time"

	"github.com/DataDog/datadog-go/v5/statsd"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// reporter is a subscriber: report is called by one goroutine at a time.
type reporter struct {
	tagger
	client  statsd.ClientInterface
	monitor *reliable.Monitor
	tags    []string
	pools   map[string]*sql.DB

	unwoken map[string]bool        // workers that commits of other processes do not wake
	open    map[breaker][]string   // breakers that are open, with their tags
	waits   map[string]sql.DBStats // of pools, at the last look
	dropped int64                  // events, at the last look
}

// breaker is what a circuit breaker is for.
type breaker struct{ context, model, callback string }

func newReporter(client statsd.ClientInterface, monitor *reliable.Monitor, m Metrics) *reporter {
	r := &reporter{
		tagger: tagger{make(map[string]map[string]bool)}, client: client, monitor: monitor, tags: slices.Clone(m.Tags), pools: maps.Clone(m.Pools),
		unwoken: make(map[string]bool), open: make(map[breaker][]string), waits: make(map[string]sql.DBStats), dropped: monitor.Dropped(),
	}
	for name, pool := range r.pools {
		r.waits[name] = pool.Stats()
	}
	return r
}

// What can't be sent is counted by the client, not told of: nobody could do
// anything about it.

func (r *reporter) count(name string, n int64, tags ...string) {
	_ = r.client.Count(name, n, slices.Concat(tags, r.tags), 1)
}

func (r *reporter) gauge(name string, value float64, tags ...string) {
	_ = r.client.Gauge(name, value, slices.Concat(tags, r.tags), 1)
}

func (r *reporter) distribute(name string, value float64, tags ...string) {
	_ = r.client.Distribution(name, value, slices.Concat(tags, r.tags), 1)
}

// seconds is a distribution of durations.
func (r *reporter) seconds(name string, d time.Duration, tags ...string) {
	r.distribute(name, d.Seconds(), tags...)
}

// report handles an event of what workers do, or leaves it to note.
func (r *reporter) report(event reliable.Event) {
	switch e := event.(type) {
	case *reliable.BatchClaimed:
		r.count("reliable.batch.claimed", 1)
		r.distribute("reliable.batch.entries", float64(e.Entries))
		r.seconds("reliable.batch.claim_duration", e.Took)
	case *reliable.EntryProcessed:
		kind := r.kind(e.Entry)
		r.count("reliable.entry.processed", 1, kind...)
		// The clocks of database and worker may differ by more than it took.
		r.seconds("reliable.entry.latency", max(time.Since(e.Entry.CreatedAt), 0), kind...)
		for i := range e.Results {
			if result := &e.Results[i]; result.Err == nil && result.Discard == "" && !result.Snoozed {
				r.seconds("reliable.callback.duration", result.Took, append(r.callback(e.Entry, result.Callback), "result:succeeded")...)
			}
		}
	case *reliable.EntryFailed:
		tags := r.callback(e.Entry, e.Callback)
		r.seconds("reliable.callback.duration", e.Took, append(tags, "result:failed")...)
		final := "final:false"
		if e.RetryAt.IsZero() {
			final = "final:true"
		}
		r.count("reliable.callback.failed", 1, append(tags, r.tag("error", reliable.ErrorClass(e.Err)), final)...)
	case *reliable.EntryDiscarded:
		r.count("reliable.callback.discarded", 1, r.callback(e.Entry, e.Callback)...)
	case *reliable.EntryDied:
		r.count("reliable.entry.died", 1, append(r.kind(e.Entry), r.tag("error", e.ErrorClass))...)
	case *reliable.EntriesRescued:
		r.count("reliable.entries.rescued", int64(e.Entries))
		r.count("reliable.entries.crashed", int64(e.Died))
	case *reliable.LeaseLost:
		r.count("reliable.lease.lost", 1)
		r.count("reliable.lease.lost_entries", int64(e.Entries))
	case *reliable.KeyParked:
		r.count("reliable.key.parked", 1, append(r.kind(e.Entry), r.tag("error", e.ErrorClass))...)
	case *reliable.KeyReleased:
		r.count("reliable.key.released", 1, r.tag("how", e.How))
	case *reliable.EntriesChanged:
		r.count("reliable.entries.changed", int64(len(e.IDs)), r.tag("how", e.How))
	case *reliable.ErrorOccurred:
		r.count("reliable.error", 1, r.tag("step", e.Step), r.tag("error", reliable.ErrorClass(e.Err)))
	case *reliable.HistoryPruned: // not by table: partitions have a name per day
		r.count("reliable.history.pruned_rows", e.Rows)
		r.count("reliable.history.pruned_bytes", e.Bytes)
		r.seconds("reliable.history.prune_duration", e.Took)
	default:
		r.note(event)
	}
}
