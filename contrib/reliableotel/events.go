package reliableotel

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// count is a subscriber.
func (i *instruments) count(event reliable.Event) {
	ctx := context.Background()
	switch e := event.(type) {
	case *reliable.BatchClaimed:
		i.batchSize.Record(ctx, int64(e.Entries))
		i.claimDuration.Record(ctx, e.Took.Seconds())
	case *reliable.EntryProcessed:
		kind := kindAttributes(e.Entry)
		add(i.processed, 1, kind...)
		// The clocks of database and worker may differ by more than it took.
		i.entryDuration.Record(ctx, max(time.Since(e.Entry.CreatedAt), 0).Seconds(), metric.WithAttributes(kind...))
	case *reliable.EntryFailed:
		add(i.failures, 1, append(callbackAttributes(e.Entry, e.Callback), errorType(reliable.ErrorClass(e.Err)))...)
	case *reliable.EntryDied:
		add(i.died, 1, append(kindAttributes(e.Entry), errorType(e.ErrorClass))...)
	case *reliable.EntryDiscarded:
		add(i.discards, 1, callbackAttributes(e.Entry, e.Callback)...)
	case *reliable.EntriesRescued:
		add(i.rescued, int64(e.Entries))
	case *reliable.LeaseLost:
		add(i.leasesLost, 1)
		add(i.entriesLost, int64(e.Entries))
	case *reliable.KeyParked:
		add(i.parked, 1, kindAttributes(e.Entry)...)
	case *reliable.KeyReleased:
		add(i.released, 1, keyHow.String(e.How))
	case *reliable.BreakerOpened:
		add(i.trips, 1, breakerOf(e.Context, e.ResourceClass, e.Callback).attributes()...)
	case *reliable.ErrorOccurred:
		add(i.errors, 1, keyStep.String(e.Step), errorType(reliable.ErrorClass(e.Err)))
	case *reliable.HeartbeatSent:
		i.heartbeatDuration.Record(ctx, e.Took.Seconds())
	case *reliable.HistoryPruned:
		// Not by table: partitions have a name per day.
		add(i.prunedRows, e.Rows)
		add(i.prunedBytes, e.Bytes)
		i.pruneDuration.Record(ctx, e.Took.Seconds())
	}
}

func errorType(class string) attribute.KeyValue { return semconv.ErrorTypeKey.String(class) }
