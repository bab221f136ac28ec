package reliableotel

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Attributes of metrics only.
const (
	keyStep  = attribute.Key("reliable.step")  // what a worker was doing, for example "claim"
	keyHow   = attribute.Key("reliable.how")   // what an operator had done: "retry" or "discard"
	keyPool  = attribute.Key("reliable.pool")  // a name of Telemetry.Pools
	keyState = attribute.Key("reliable.state") // of connections: "used" or "idle"
)

// instruments count events.
type instruments struct {
	processed, died, failures, discards             metric.Int64Counter
	rescued, leasesLost, entriesLost                metric.Int64Counter
	parked, released, trips, errors                 metric.Int64Counter
	prunedRows, prunedBytes                         metric.Int64Counter
	callbackDuration, entryDuration                 metric.Float64Histogram
	claimDuration, heartbeatDuration, pruneDuration metric.Float64Histogram
	batchSize                                       metric.Int64Histogram
}

// newInstruments makes all of them. The names and units are documented in
// docs/opentelemetry.md; they are stable.
func newInstruments(meter metric.Meter) (*instruments, error) {
	ofRuns := []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300}
	ofWaits := []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 10800, 43200, 86400, 259200}
	ofEntries := []float64{1, 2, 5, 10, 25, 50, 100, 250, 500, 1000}
	i := new(instruments)
	var errs []error
	for _, c := range []struct {
		into                    *metric.Int64Counter
		name, unit, description string
	}{
		{&i.processed, "reliable.entries.processed", "{entry}", "Entries for which nothing is owed any more."},
		{&i.died, "reliable.entries.died", "{entry}", "Entries that are kept for an operator."},
		{&i.rescued, "reliable.entries.rescued", "{entry}", "Entries that were taken from dead workers."},
		{&i.failures, "reliable.callback.failures", "{failure}", "Runs of callbacks that failed."},
		{&i.discards, "reliable.callback.discards", "{discard}", "Callbacks that were given up without a failure."},
		{&i.trips, "reliable.breaker.trips", "{trip}", "Times that a callback's breaker opened."},
		{&i.leasesLost, "reliable.leases.lost", "{lease}", "Leases that a worker lost."},
		{&i.entriesLost, "reliable.entries.lost", "{entry}", "Unfinished entries that a worker lost with its lease."},
		{&i.parked, "reliable.keys.parked", "{key}", "Causality keys that stopped at a dead entry."},
		{&i.released, "reliable.keys.released", "{key}", "Causality keys that an operator let go on."},
		{&i.errors, "reliable.worker.errors", "{error}", "Errors of the worker itself."},
		{&i.prunedRows, "reliable.history.pruned.rows", "{row}", "Done entries that were deleted; dropped partitions count by their size."},
		{&i.prunedBytes, "reliable.history.pruned.size", "By", "Size of the dropped partitions."},
	} {
		counter, err := meter.Int64Counter(c.name, metric.WithUnit(c.unit), metric.WithDescription(c.description))
		*c.into = counter
		errs = append(errs, err)
	}
	for _, h := range []struct {
		into              *metric.Float64Histogram
		name, description string
		bounds            []float64
	}{
		{&i.callbackDuration, "reliable.callback.duration", "How long a run of a callback took.", ofRuns},
		{&i.entryDuration, "reliable.entry.duration", "From the creation of an entry to its end.", ofWaits},
		{&i.claimDuration, "reliable.claim.duration", "How long a claim took.", ofRuns},
		{&i.heartbeatDuration, "reliable.heartbeat.duration", "How long a heartbeat took.", ofRuns},
		{&i.pruneDuration, "reliable.history.prune.duration", "How long it took to prune a table.", ofWaits},
	} {
		histogram, err := meter.Float64Histogram(h.name, metric.WithUnit("s"), metric.WithDescription(h.description), metric.WithExplicitBucketBoundaries(h.bounds...))
		*h.into = histogram
		errs = append(errs, err)
	}
	var err error
	i.batchSize, err = meter.Int64Histogram("reliable.batch.size", metric.WithUnit("{entry}"), metric.WithDescription("Entries of a claim."), metric.WithExplicitBucketBoundaries(ofEntries...))
	return i, errors.Join(append(errs, err)...)
}

func add(c metric.Int64Counter, n int64, attributes ...attribute.KeyValue) {
	c.Add(context.Background(), n, metric.WithAttributes(attributes...))
}
