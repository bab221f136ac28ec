// Package reliablesentry reports failures to Sentry: callbacks that failed,
// entries that died, and errors of the workers themselves.
//
//	stop, err := reliablesentry.Reporter{Report: reliablesentry.Final}.Subscribe(plugin.Monitor())
//	if err != nil {
//		return err
//	}
//	defer stop(context.Background())
//
// Failures are one issue per callback and type of error, whatever their texts
// say; errors of a worker one per step and type. An event has the tags
// reliable.context, .model, .event, .callback, .error and .final, and names its
// entry by id and attempt. The level is warning for what is tried again, error
// for what is given up or broken, fatal for an entry that took workers with
// it. The stack is that of the panic, or of an error that carries one.
//
// An event never has a changeset, arguments, headers, a causality key or the
// primary key of a row. It has no error's text either, since such a text may
// quote what is in a row: set [Reporter.Text] to send it.
//
// SENTRY_DSN, or SENTRY_DSN_FILE with a file that holds it, says where Sentry
// is, SENTRY_ENVIRONMENT and SENTRY_RELEASE are as for every program. The hub
// and the client are the reporter's own: the application's, its scopes and
// breadcrumbs are not touched.
package reliablesentry

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/getsentry/sentry-go"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Report says which failures of a callback are reported.
type Report string

// What a [Reporter] reports of an entry's callback that fails again and again.
const (
	Every Report = "every" // each failure
	First Report = "first" // the first one, and that the entry died
	Final Report = "final" // the one after which it is not tried again
)

// Reporter says what is reported, and how. The zero value reports every failure
// to the Sentry of the environment.
type Reporter struct {
	// Report says which failures of a callback are reported. Empty means
	// [Every].
	Report Report

	// Text makes the text of an error that is reported, for example by
	// [reliable.Redact]. Nil sends none: Sentry shows the type, and what
	// failed. An event for which it panics is lost.
	Text func(error) string

	// Client sends the events, with its options: BeforeSend, for example, or a
	// transport. It is yours to close. Nil makes one from the environment.
	Client *sentry.Client
}

// FlushTimeout is how long a worker's end waits for what is not sent.
const FlushTimeout = 1500 * time.Millisecond

// Subscribe reports what m's events tell from now on. All mistakes of the
// configuration and the environment come as one error, and nothing is
// subscribed then.
//
// Events are sent in the background, a hundred or so wait for a slow server,
// and the oldest are dropped. What waits when a worker has stopped is sent for
// up to [FlushTimeout]. stop ends the subscription, sends what waits and closes
// the client that Subscribe made; call it after the worker has ended. It takes
// as long as its context lets it, breaks off what is under way then, and
// returns an error. It is never nil, and does nothing the second time.
func (r Reporter) Subscribe(m *reliable.Monitor) (stop func(context.Context) error, err error) {
	nothing := func(context.Context) error { return nil }
	dsn, err := r.check(m)
	if err != nil {
		return nothing, err
	}
	client, end := r.Client, func() {}
	if client == nil {
		if client, end, err = newClient(dsn); err != nil {
			return nothing, err
		}
	}
	s := newSubscriber(r, client)
	cancel := m.Subscribe(s.handle)
	var once sync.Once
	return func(ctx context.Context) (err error) {
		once.Do(func() {
			cancel()
			if !client.FlushWithContext(ctx) {
				err = errors.New("reliablesentry: not everything was sent in time")
			}
			end()
		})
		return err
	}, nil
}

// check reports all mistakes at once, those of the environment too.
func (r Reporter) check(m *reliable.Monitor) (dsn string, err error) {
	var mistakes []error
	if m == nil {
		mistakes = append(mistakes, errors.New("reliablesentry: the monitor is nil: pass the plugin's, Plugin.Monitor()"))
	}
	switch r.Report {
	case "", Every, First, Final:
	default:
		mistakes = append(mistakes, fmt.Errorf("reliablesentry: Report is %q: want first, every or final, or empty for every", r.Report))
	}
	if r.Client == nil {
		dsn, err = environment()
		mistakes = append(mistakes, err)
	}
	return dsn, errors.Join(mistakes...)
}
