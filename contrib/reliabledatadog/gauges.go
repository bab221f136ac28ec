package reliabledatadog

import (
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// note handles an event of the state of a worker or of the outbox. A gauge that
// is not sent again fades: those of a worker come with each heartbeat.
func (r *reporter) note(event reliable.Event) {
	switch e := event.(type) {
	case *reliable.Started:
		r.count("reliable.worker.started", 1, r.tag("processor", e.Processor))
	case *reliable.Stopped:
		clean := "clean:true"
		if e.Err != nil {
			clean = "clean:false"
		}
		r.count("reliable.worker.stopped", 1, clean)
		delete(r.unwoken, e.Worker)
		r.state()
		_ = r.client.Flush() // there may be nobody who calls stop
	case *reliable.HeartbeatSent:
		r.count("reliable.heartbeat.sent", 1)
		r.seconds("reliable.heartbeat.duration", e.Took)
		r.state()
	case *reliable.WakeupDegraded:
		r.unwoken[e.Worker] = true
		r.state()
	case *reliable.WakeupRestored:
		delete(r.unwoken, e.Worker)
		r.state()
	case *reliable.BreakerOpened:
		b := breaker{e.Context, e.ResourceClass, e.Callback}
		r.open[b] = r.breaker(b)
		r.count("reliable.breaker.opened", 1, append(r.breaker(b), r.tag("error", reliable.ErrorClass(e.Err)))...)
		r.gauge("reliable.breaker.open", 1, r.open[b]...)
	case *reliable.BreakerClosed:
		b := breaker{e.Context, e.ResourceClass, e.Callback}
		delete(r.open, b)
		r.gauge("reliable.breaker.open", 0, r.breaker(b)...)
	case *reliable.WorkPaused:
		r.count("reliable.work.paused", 1)
	case *reliable.WorkResumed:
		r.count("reliable.work.resumed", 1)
	case *reliable.OrphansFound:
		r.gauge("reliable.orphans.found", float64(e.Entries), r.tag("context", e.Context), r.tag("model", e.ResourceClass), r.tag("event", e.EventName))
	case *reliable.BloatFound:
		r.count("reliable.bloat.found", 1, r.tag("table", e.Table))
	case *reliable.BloatCleared:
		r.count("reliable.bloat.cleared", 1, r.tag("table", e.Table))
	case *reliable.LatencyMeasured:
		r.gauge("reliable.latency.minimum", e.Minimum.Seconds())
		r.gauge("reliable.latency.maximum", e.Maximum.Seconds())
		r.gauge("reliable.latency.average", e.Average.Seconds())
		r.gauge("reliable.latency.highest_since_creation_date", e.Oldest.Seconds())
		r.gauge("reliable.latency.overdue", e.Overdue.Seconds())
	case *reliable.OutboxMeasured:
		r.outbox(e)
	}
}

// outbox sends how much there is of what.
func (r *reporter) outbox(e *reliable.OutboxMeasured) {
	estimates := 0
	for _, g := range []struct {
		name string
		reliable.Gauge
	}{
		{"reliable.entries.pending", e.Pending},
		{"reliable.entries.eligible", e.Eligible},
		{"reliable.entries.waiting", e.Waiting},
		{"reliable.entries.held", e.Held},
		{"reliable.entries.dead", e.Dead},
		{"reliable.entries.orphans", e.Orphans},
		{"reliable.keys.parked", e.ParkedKeys},
	} {
		r.gauge(g.name, float64(g.N))
		if g.Approx {
			estimates++
		}
	}
	r.gauge("reliable.entries.estimates", float64(estimates))
	r.gauge("reliable.oldest.eligible", e.OldestEligible.Seconds())
	r.gauge("reliable.oldest.dead", e.OldestDead.Seconds())
	r.gauge("reliable.oldest.parked", e.OldestParked.Seconds())
	r.gauge("reliable.oldest.orphan", e.OldestOrphan.Seconds())
	r.gauge("reliable.workers", float64(e.Workers))
	r.gauge("reliable.threads", float64(e.Threads))
	r.gauge("reliable.pauses", float64(e.Pauses))
	r.gauge("reliable.table.dead_rows", float64(e.DeadRows))
}

// state sends what stays as it is until it changes.
func (r *reporter) state() {
	r.gauge("reliable.wakeup.degraded", float64(len(r.unwoken)))
	for _, tags := range r.open {
		r.gauge("reliable.breaker.open", 1, tags...)
	}
	dropped := r.monitor.Dropped()
	r.count("reliable.monitor.dropped", max(dropped-r.dropped, 0)) // less after a subscriber has gone
	r.dropped = dropped
	for name, pool := range r.pools {
		now, before, tag := pool.Stats(), r.waits[name], "pool:"+name
		r.waits[name] = now
		r.gauge("reliable.pool.in_use", float64(now.InUse), tag)
		r.gauge("reliable.pool.idle", float64(now.Idle), tag)
		r.gauge("reliable.pool.limit", float64(now.MaxOpenConnections), tag)
		r.count("reliable.pool.waits", now.WaitCount-before.WaitCount, tag)
		r.count("reliable.pool.wait_milliseconds", (now.WaitDuration - before.WaitDuration).Milliseconds(), tag)
	}
}

func (r *reporter) breaker(b breaker) []string {
	return []string{r.tag("context", b.context), r.tag("model", b.model), r.tag("callback", b.callback)}
}
