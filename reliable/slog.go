package reliable

import (
	"context"
	"log/slog"
)

// Keys of log records, the same everywhere.
const (
	LogKeyWorker   = "worker"
	LogKeyEntry    = "entry_id"
	LogKeyEvent    = "event_name"
	LogKeyModel    = "resource_class"
	LogKeyModelID  = "resource_id"
	LogKeyCallback = "callback"
	LogKeyAttempt  = "attempt"
	LogKeyError    = "error"
)

// LogTo writes every event to l: failures as warnings, dead entries, parked
// keys, lost leases and the worker's own errors as errors, the life of the
// worker as information, the rest at debug level. It writes ids and names,
// never changesets, arguments or causality keys. It ends with cancel.
func (m *Monitor) LogTo(l *slog.Logger) (cancel func()) {
	return m.Subscribe(func(e Event) {
		level, attrs := describe(e)
		l.LogAttrs(context.Background(), level, e.Name(), attrs...)
	})
}

func describe(e Event) (slog.Level, []slog.Attr) {
	worker := func(id string) slog.Attr { return slog.String(LogKeyWorker, id) }
	switch e := e.(type) {
	case *Started:
		return slog.LevelInfo, []slog.Attr{worker(e.Worker), slog.Int("threads", e.Threads), slog.String("processor", e.Processor)}
	case *ShuttingDown:
		return slog.LevelInfo, []slog.Attr{worker(e.Worker), errorAttr("cause", e.Cause), slog.Duration("timeout", e.Timeout)}
	case *Stopped:
		level := slog.LevelInfo
		if e.Err != nil {
			level = slog.LevelError
		}
		return level, []slog.Attr{worker(e.Worker), slog.Int("released", e.Released), errorAttr(LogKeyError, e.Err)}
	case *BatchClaimed:
		return slog.LevelDebug, []slog.Attr{worker(e.Worker), slog.Int64("token", e.Token), slog.Int("entries", e.Entries), slog.Duration("took", e.Took)}
	case *EntryProcessed:
		return slog.LevelDebug, entryAttrs(e.Entry)
	case *EntryFailed:
		return slog.LevelWarn, append(entryAttrs(e.Entry), slog.String(LogKeyCallback, e.Callback), slog.Int(LogKeyAttempt, e.Attempt),
			errorAttr(LogKeyError, e.Err), slog.Time("retry_at", e.RetryAt), slog.Duration("took", e.Took))
	case *EntryDied:
		return slog.LevelError, append(entryAttrs(e.Entry), slog.String("error_class", e.ErrorClass), slog.String(LogKeyError, e.ErrorMessage))
	case *EntryDiscarded:
		return slog.LevelInfo, append(entryAttrs(e.Entry), slog.String(LogKeyCallback, e.Callback), slog.String("reason", Redact(e.Reason)))
	case *EntriesRescued:
		return slog.LevelWarn, []slog.Attr{slog.String("dead_worker", e.Worker), slog.Int("entries", e.Entries), slog.Int("died", e.Died)}
	case *LeaseLost:
		return slog.LevelError, []slog.Attr{worker(e.Worker), slog.Int64("token", e.Token), slog.Int("entries", e.Entries)}
	case *OrphansFound:
		return slog.LevelWarn, []slog.Attr{
			slog.String("context", e.Context), slog.String(LogKeyModel, e.ResourceClass),
			slog.String(LogKeyEvent, e.EventName), slog.Any("owed", e.Owed), slog.Int("entries", e.Entries),
		}
	case *BreakerOpened:
		return slog.LevelWarn, append(callbackAttrs(e.Context, e.ResourceClass, e.Callback), slog.Int("trip", e.Trip), slog.Int("failed", e.Failed),
			slog.Int("attempts", e.Attempts), errorAttr(LogKeyError, e.Err), slog.Duration("rest", e.Rest))
	case *BreakerClosed:
		return slog.LevelInfo, append(callbackAttrs(e.Context, e.ResourceClass, e.Callback), slog.Duration("took", e.Took))
	case *WorkPaused:
		return slog.LevelWarn, []slog.Attr{slog.String("paused", e.Pause.String()), slog.String("reason", e.Pause.Reason), slog.Time("since", e.Pause.At)}
	case *WorkResumed:
		return slog.LevelInfo, []slog.Attr{slog.String("resumed", e.Pause.String()), slog.Time("since", e.Pause.At)}
	case *ErrorOccurred:
		return slog.LevelError, []slog.Attr{worker(e.Worker), slog.String("step", e.Step), errorAttr(LogKeyError, e.Err)}
	case *WakeupDegraded:
		return slog.LevelWarn, []slog.Attr{worker(e.Worker), errorAttr(LogKeyError, e.Err)}
	case *WakeupRestored:
		return slog.LevelInfo, []slog.Attr{worker(e.Worker), slog.Duration("after", e.After)}
	case *HeartbeatSent:
		return slog.LevelDebug, []slog.Attr{worker(e.Worker), slog.Duration("took", e.Took)}
	case *KeyParked, *KeyReleased, *EntriesChanged:
		return describeKeys(e)
	default:
		return describeHousekeeping(e)
	}
}

func describeHousekeeping(e Event) (slog.Level, []slog.Attr) {
	switch e := e.(type) {
	case *HistoryPruned:
		return slog.LevelInfo, []slog.Attr{
			slog.String(LogKeyWorker, e.Worker), slog.String("table", e.Table), slog.Int64("rows", e.Rows),
			slog.Int64("bytes", e.Bytes), slog.Duration("took", e.Took),
		}
	case *BloatFound:
		attrs := []slog.Attr{
			slog.String(LogKeyWorker, e.Worker), slog.String("table", e.Table), slog.Int64("dead_rows", e.DeadRows),
			slog.Int64("live_rows", e.LiveRows), slog.Time("vacuumed", e.Vacuumed), slog.Int("holders", len(e.Holders)),
		}
		if len(e.Holders) > 0 {
			h := e.Holders[0]
			attrs = append(attrs, slog.String("holder", h.Kind), slog.Int("pid", h.PID), slog.String("holder_name", h.Name), slog.String("user", h.User),
				slog.String("application", h.Application), slog.String("state", h.State), slog.Duration("age", h.Age))
		}
		return slog.LevelWarn, attrs
	case *BloatCleared:
		return slog.LevelInfo, []slog.Attr{slog.String(LogKeyWorker, e.Worker), slog.String("table", e.Table), slog.Int64("dead_rows", e.DeadRows)}
	case *LatencyMeasured:
		return slog.LevelDebug, []slog.Attr{
			slog.String(LogKeyWorker, e.Worker), slog.Duration("oldest", e.Oldest), slog.Duration("overdue", e.Overdue), slog.Int("backlog", e.Backlog),
			slog.Int("processed", e.Processed), slog.Duration("minimum", e.Minimum), slog.Duration("maximum", e.Maximum), slog.Duration("average", e.Average),
		}
	case *OutboxMeasured:
		return slog.LevelDebug, []slog.Attr{
			slog.String(LogKeyWorker, e.Worker), slog.Int64("pending", e.Pending.N), slog.Int64("eligible", e.Eligible.N), slog.Int64("waiting", e.Waiting.N),
			slog.Int64("held", e.Held.N), slog.Int64("dead", e.Dead.N), slog.Int64("parked_keys", e.ParkedKeys.N), slog.Int64("orphans", e.Orphans.N),
			slog.Duration("oldest_eligible", e.OldestEligible), slog.Duration("oldest_dead", e.OldestDead), slog.Duration("oldest_parked", e.OldestParked),
			slog.Duration("oldest_orphan", e.OldestOrphan), slog.Int("workers", e.Workers), slog.Int("threads", e.Threads), slog.Int("pauses", e.Pauses),
			slog.Int64("dead_rows", e.DeadRows),
		}
	default:
		return slog.LevelInfo, nil
	}
}

// errorAttr is an error as it may be seen, nil if it is.
func errorAttr(key string, err error) slog.Attr {
	if err == nil {
		return slog.Any(key, nil)
	}
	return slog.String(key, errorText(err))
}

func entryAttrs(e *OutboxEntry) []slog.Attr {
	attrs := []slog.Attr{slog.Int64(LogKeyEntry, e.ID), slog.String(LogKeyEvent, e.EventName)}
	if e.ResourceClass != "" {
		attrs = append(attrs, slog.String(LogKeyModel, e.ResourceClass), slog.String(LogKeyModelID, e.ResourceID))
	}
	return attrs
}

func callbackAttrs(context, class, callback string) []slog.Attr {
	attrs := []slog.Attr{slog.String("context", context), slog.String(LogKeyCallback, callback)}
	if class != "" {
		attrs = append(attrs, slog.String(LogKeyModel, class))
	}
	return attrs
}
