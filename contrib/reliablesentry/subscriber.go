package reliablesentry

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/getsentry/sentry-go"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

const (
	// pause is how often the same error of a worker is reported: a database
	// that is down fails several times a second.
	pause = time.Minute

	maxFinal = 1000 // entries of which a last failure was reported, and that have not died yet
	maxSeen  = 1000 // kinds of errors of workers
)

// subscriber's handle is called by one goroutine at a time.
type subscriber struct {
	Reporter

	client *sentry.Client
	hub    *sentry.Hub
	final  map[int64]bool
	seen   map[[2]string]*repeats
}

// repeats is what was reported of an error of a worker, and what was not.
type repeats struct {
	at      time.Time
	skipped int
}

func newSubscriber(r Reporter, client *sentry.Client) *subscriber {
	r.Report = cmp.Or(r.Report, Every)
	return &subscriber{
		Reporter: r, client: client, hub: sentry.NewHub(client, sentry.NewScope()), // not the global one, nor a clone: that has the application's tags
		final: make(map[int64]bool), seen: make(map[[2]string]*repeats),
	}
}

func (s *subscriber) handle(event reliable.Event) {
	switch e := event.(type) {
	case *reliable.EntryFailed:
		s.failed(e)
	case *reliable.EntryDied:
		s.died(e)
	case *reliable.ErrorOccurred:
		s.broken(sentry.LevelError, e.Worker, e.Step, e.Err)
	case *reliable.WakeupDegraded:
		s.broken(sentry.LevelWarning, e.Worker, "listen", e.Err)
	case *reliable.Stopped:
		if e.Err != nil {
			s.broken(sentry.LevelError, e.Worker, "stop", e.Err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), FlushTimeout)
		defer cancel()
		s.client.FlushWithContext(ctx) // there may be nobody who calls stop
	}
}

// failed reports a failure of a callback.
func (s *subscriber) failed(e *reliable.EntryFailed) {
	final := e.RetryAt.IsZero()
	if s.Report == First && e.Attempt > 1 || s.Report == Final && !final {
		return
	}
	if final {
		if len(s.final) >= maxFinal {
			clear(s.final)
		}
		s.final[e.Entry.ID] = true // it dies of that
	}
	event, class := s.event(e.Err, "callback "+e.Callback+" failed"), reliable.ErrorClass(e.Err)
	event.Level = sentry.LevelWarning
	if final {
		event.Level = sentry.LevelError
	}
	s.about(event, e.Entry, class)
	event.Fingerprint = append([]string{"reliable", "callback"}, owner(e.Entry), e.Callback, class)
	event.Transaction = owner(e.Entry) + " " + e.Callback
	event.Tags["reliable.callback"] = e.Callback
	event.Tags["reliable.final"] = map[bool]string{true: "true", false: "false"}[final]
	entry := event.Contexts["entry"]
	entry["attempt"], entry["took_seconds"] = e.Attempt, e.Took.Seconds()
	if !final {
		entry["retry_at"] = e.RetryAt.UTC()
	}
	s.hub.CaptureEvent(event)
}

// died reports an entry that died, unless the failure that it died of was.
func (s *subscriber) died(e *reliable.EntryDied) {
	if s.final[e.Entry.ID] {
		delete(s.final, e.Entry.ID)
		return
	}
	event := s.event(nil, "entry died")
	event.Exception[0].Type = cmp.Or(e.ErrorClass, "unknown")
	event.Level = sentry.LevelError
	if e.ErrorClass == "crash" {
		event.Level = sentry.LevelFatal
	}
	if s.Text != nil && e.ErrorMessage != "" {
		event.Exception[0].Value = s.Text(errors.New(e.ErrorMessage))
	}
	s.about(event, e.Entry, e.ErrorClass)
	event.Fingerprint = []string{"reliable", "died", owner(e.Entry), e.Entry.EventName, e.ErrorClass}
	event.Transaction = owner(e.Entry) + " " + e.Entry.EventName
	event.Tags["reliable.final"] = "true"
	s.hub.CaptureEvent(event)
}

// broken reports an error of a worker, unless the same was just now.
func (s *subscriber) broken(level sentry.Level, worker, step string, err error) {
	class := reliable.ErrorClass(err)
	last := s.seen[[2]string{step, class}]
	switch {
	case last == nil:
		if len(s.seen) >= maxSeen {
			clear(s.seen)
		}
		last = new(repeats)
		s.seen[[2]string{step, class}] = last
	case time.Since(last.at) < pause:
		last.skipped++
		return
	}
	event := s.event(err, "the worker could not "+step)
	event.Level = level
	event.Fingerprint = []string{"reliable", "worker", step, class}
	event.Transaction = "worker " + step
	event.Tags = map[string]string{"reliable.step": step, "reliable.error": class}
	event.Contexts["worker"] = sentry.Context{"id": worker, "skipped": last.skipped} // since the last report
	*last = repeats{at: time.Now()}
	s.hub.CaptureEvent(event)
}

// event begins an event of an error, nil if it is only known by name. Its title
// is the type of the error, and its subtitle the text or what happened.
func (s *subscriber) event(err error, what string) *sentry.Event {
	event := sentry.NewEvent()
	event.Logger = "reliable"
	exception := sentry.Exception{Type: reliable.ErrorClass(err), Value: what}
	if err != nil {
		exception.Stacktrace = stackOf(err)
		if s.Text != nil {
			exception.Value = s.Text(err)
		}
	}
	event.Exception = []sentry.Exception{exception}
	return event
}

// about says which entry it was: by names and numbers.
func (s *subscriber) about(event *sentry.Event, e *reliable.OutboxEntry, class string) {
	event.Tags = map[string]string{"reliable.context": e.Context, "reliable.event": e.EventName, "reliable.error": class}
	if e.ResourceClass != "" {
		event.Tags["reliable.model"] = e.ResourceClass
	}
	event.Contexts["entry"] = sentry.Context{"id": e.ID, "created_at": e.CreatedAt.UTC(), "attempts": e.Attempts, "crashes": e.Crashes}
}

// owner is whose callback it is: a model's, or a context's.
func owner(e *reliable.OutboxEntry) string { return cmp.Or(e.ResourceClass, e.Context) }
