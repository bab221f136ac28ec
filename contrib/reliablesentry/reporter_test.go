package reliablesentry_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getsentry/sentry-go"
	"github.com/google/go-cmp/cmp"

	"github.com/gorm-aftercommit/aftercommit/contrib/reliablesentry"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

const canary = "c4n4ry"

// secret is an error whose text must not leave.
type secret struct{}

func (*secret) Error() string { return "postgres://shop:" + canary + "@db/shop: " + canary }

// entry is one with secrets wherever something is that may be one.
func entry(id int64) *reliable.OutboxEntry {
	return &reliable.OutboxEntry{
		ID: id, Context: "gorm", ResourceClass: "Order", ResourceID: canary, EventName: "order_created", CausalityKey: canary,
		Changeset: []byte(`{"after":{"note":"` + canary + `"}}`), Arguments: []byte(`["` + canary + `"]`), Headers: []byte(`{"token":"` + canary + `"}`),
		CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Attempts: 2, Callbacks: []byte(`{"receipt":{"error":"` + canary + `"}}`),
	}
}

// life is what is told of an entry whose callback fails three times, of one
// that kills workers, and of a worker.
func life() []reliable.Event {
	err := fmt.Errorf("send: %w", &secret{})
	later := time.Date(2026, 1, 2, 4, 0, 0, 0, time.UTC)
	return []reliable.Event{
		&reliable.EntryFailed{Entry: entry(7), Callback: "receipt", Attempt: 1, Err: err, RetryAt: later, Took: 1500 * time.Millisecond},
		&reliable.EntryFailed{Entry: entry(7), Callback: "receipt", Attempt: 2, Err: err, RetryAt: later},
		&reliable.EntryFailed{Entry: entry(7), Callback: "receipt", Attempt: 3, Err: err},
		&reliable.EntryDied{Entry: entry(7), ErrorClass: "*reliablesentry_test.secret", ErrorMessage: canary},
		&reliable.EntryDied{Entry: entry(8), ErrorClass: "crash", ErrorMessage: canary},
		&reliable.EntryProcessed{Entry: entry(9)},
		&reliable.EntryDiscarded{Entry: entry(9), Reason: canary},
		&reliable.KeyParked{Key: canary, Entry: entry(8), ErrorMessage: canary},
		&reliable.ErrorOccurred{Worker: "w1", Step: "claim", Err: err},
		&reliable.ErrorOccurred{Worker: "w1", Step: "claim", Err: err}, // the same, at once
		&reliable.ErrorOccurred{Worker: "w1", Step: "claim", Err: errors.New(canary)},
		&reliable.WakeupDegraded{Worker: "w1", Err: err},
		&reliable.Stopped{Worker: "w1", Err: err},
	}
}

// receive publishes the events and returns what a server got.
func receive(t *testing.T, r reliablesentry.Reporter, events []reliable.Event) (text string, got []event) {
	t.Helper()
	s := listen(t)
	t.Setenv("SENTRY_ENVIRONMENT", "production")
	var m reliable.Monitor
	stop, err := r.Subscribe(&m)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		m.Publish(e)
	}
	if err := errors.Join(m.Flush(t.Context()), stop(t.Context()), stop(t.Context())); err != nil {
		t.Fatal(err)
	}
	s.closed(t)
	return s.received()
}

// summary is an event in a line.
func (e event) summary() string {
	return fmt.Sprintf("%s %s %v %v", e.Level, strings.Join(e.Fingerprint, "/"), e.Contexts["entry"]["attempt"], e.Contexts["entry"]["id"])
}

// What is reported depends on Report; errors of workers come always, and one of
// a kind at a time.
func TestReport(t *testing.T) {
	const failed = "reliable/callback/Order/receipt/*reliablesentry_test.secret"
	attempts := map[reliablesentry.Report][]string{
		"":                   {"warning " + failed + " 1 7", "warning " + failed + " 2 7", "error " + failed + " 3 7"},
		reliablesentry.Every: {"warning " + failed + " 1 7", "warning " + failed + " 2 7", "error " + failed + " 3 7"},
		reliablesentry.First: {"warning " + failed + " 1 7", "error reliable/died/Order/order_created/*reliablesentry_test.secret <nil> 7"},
		reliablesentry.Final: {"error " + failed + " 3 7"},
	}
	for report, want := range attempts {
		t.Run(string(report), func(t *testing.T) {
			_, events := receive(t, reliablesentry.Reporter{Report: report}, life())
			want := append(slices.Clone(want),
				"fatal reliable/died/Order/order_created/crash <nil> 8",
				"error reliable/worker/claim/*reliablesentry_test.secret <nil> <nil>",
				"error reliable/worker/claim/*errors.errorString <nil> <nil>",
				"warning reliable/worker/listen/*reliablesentry_test.secret <nil> <nil>",
				"error reliable/worker/stop/*reliablesentry_test.secret <nil> <nil>",
			)
			var got []string
			for _, e := range events {
				got = append(got, e.summary())
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

// An event says which callback of which entry, by names and numbers.
func TestEvent(t *testing.T) {
	_, events := receive(t, reliablesentry.Reporter{}, life())
	failed, broken := events[0], events[4]
	if failed.Logger != "reliable" || failed.Environment != "production" || failed.Release != "1.2.3" || failed.Transaction != "Order receipt" || failed.Message != "" {
		t.Errorf("event = %+v, want logger, environment, release and transaction", failed)
	}
	if len(failed.Exception) != 1 || failed.Exception[0].Type != "*reliablesentry_test.secret" || failed.Exception[0].Value != "callback receipt failed" {
		t.Errorf("Exception = %+v, want the type and what failed", failed.Exception)
	}
	wantTags := map[string]string{
		"reliable.context": "gorm", "reliable.model": "Order", "reliable.event": "order_created", "reliable.callback": "receipt",
		"reliable.error": "*reliablesentry_test.secret", "reliable.final": "false",
	}
	if diff := cmp.Diff(wantTags, failed.Tags); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	wantEntry := map[string]any{
		"id": 7.0, "attempt": 1.0, "attempts": 2.0, "crashes": 0.0, "created_at": "2026-01-02T03:04:05Z", "retry_at": "2026-01-02T04:00:00Z", "took_seconds": 1.5,
	}
	if diff := cmp.Diff(wantEntry, failed.Contexts["entry"]); diff != "" {
		t.Errorf("entry (-want +got):\n%s", diff)
	}
	if events[2].Tags["reliable.final"] != "true" {
		t.Errorf("tags of the last failure = %v, want it to be final", events[2].Tags)
	}
	if diff := cmp.Diff(map[string]string{"reliable.step": "claim", "reliable.error": "*reliablesentry_test.secret"}, broken.Tags); diff != "" || broken.Exception[0].Value != "the worker could not claim" {
		t.Errorf("event of a worker = %+v, %s", broken, diff)
	}
	if diff := cmp.Diff(map[string]any{"id": "w1", "skipped": 0.0}, broken.Contexts["worker"]); diff != "" {
		t.Errorf("worker (-want +got):\n%s", diff)
	}
}

// Nothing secret is in what is sent, but for what Text lets through (76).
func TestNoSecrets(t *testing.T) {
	if text, events := receive(t, reliablesentry.Reporter{}, life()); len(events) != 8 || strings.Contains(text, canary) {
		t.Errorf("the server got %d events\n%s\nwant 8 without %s", len(events), text, canary)
	}
	masked := func(err error) string { return strings.ReplaceAll(err.Error(), canary, "***") }
	text, events := receive(t, reliablesentry.Reporter{Text: masked}, life())
	if strings.Contains(text, canary) || events[0].Exception[0].Value != "send: postgres://shop:***@db/shop: ***" || events[3].Exception[0].Value != "***" {
		t.Errorf("the server got %+v, want masked texts", events)
	}
}

// The application's hub and its scope have no part in it.
func TestOwnHub(t *testing.T) {
	global := sentry.CurrentHub()
	sent := 0
	client, err := sentry.NewClient(sentry.ClientOptions{BeforeSend: func(*sentry.Event, *sentry.EventHint) *sentry.Event { sent++; return nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	global.BindClient(client)
	defer global.BindClient(nil)
	global.PushScope()
	defer global.PopScope()
	global.Scope().SetTag("secret", canary)
	text, events := receive(t, reliablesentry.Reporter{}, life())
	if sent != 0 || len(events) == 0 || strings.Contains(text, canary) {
		t.Errorf("the application's client sent %d events, the server got %s", sent, text)
	}
	if sentry.CurrentHub().Client() != client {
		t.Error("the application's hub has another client")
	}
}

// A client of the application's is used, and not closed.
func TestOwnClient(t *testing.T) {
	s := listen(t)
	before := 0
	client, err := sentry.NewClient(sentry.ClientOptions{BeforeSend: func(e *sentry.Event, _ *sentry.EventHint) *sentry.Event { before++; return e }})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	t.Setenv("SENTRY_DSN", "")
	var m reliable.Monitor
	stop, err := reliablesentry.Reporter{Client: client}.Subscribe(&m)
	if err != nil {
		t.Fatal(err)
	}
	m.Publish(life()[0])
	if err := errors.Join(m.Flush(t.Context()), stop(t.Context())); err != nil {
		t.Fatal(err)
	}
	client.CaptureMessage("still open", nil, nil)
	if _, events := s.received(); !client.FlushWithContext(t.Context()) || len(events) != 1 || before != 2 {
		t.Errorf("%d events of the reporter and %d in all, want 1 and 2", len(events), before)
	}
	s.CloseClientConnections()
}

// The DSN may be in a file.
func TestDSNFile(t *testing.T) {
	s := listen(t)
	file := filepath.Join(t.TempDir(), "dsn")
	if err := os.WriteFile(file, []byte(os.Getenv("SENTRY_DSN")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SENTRY_DSN", "")
	t.Setenv("SENTRY_DSN_FILE", file)
	var m reliable.Monitor
	stop, err := reliablesentry.Reporter{}.Subscribe(&m)
	if err != nil {
		t.Fatal(err)
	}
	m.Publish(life()[0])
	if err := errors.Join(m.Flush(t.Context()), stop(t.Context())); err != nil {
		t.Fatal(err)
	}
	if _, events := s.received(); len(events) != 1 {
		t.Errorf("%d events came, want one", len(events))
	}
}

// All mistakes are told at once, without the key.
func TestMistakes(t *testing.T) {
	quiet(t)
	for dsn, want := range map[string]string{
		"":                                    "set SENTRY_DSN or SENTRY_DSN_FILE, or Reporter.Client",
		"https://sentry.example/42":           "SENTRY_DSN is no DSN: want https://key@host/project",
		"https://" + canary + "@host":         "SENTRY_DSN is no DSN",
		"https://" + canary + "@host:x/4":     "SENTRY_DSN is no DSN",
		"https://" + canary + "@host/4\x7f":   "SENTRY_DSN is no DSN",
		"postgres://u:" + canary + "@host/db": "SENTRY_DSN is no DSN",
	} {
		t.Setenv("SENTRY_DSN", dsn)
		stop, err := reliablesentry.Reporter{Report: "sometimes"}.Subscribe(nil)
		if err == nil || stop(t.Context()) != nil {
			t.Fatalf("Subscribe() = %v, want an error and a stop that does nothing", err)
		}
		for _, want := range []string{want, "the monitor is nil: pass the plugin's", `Report is "sometimes": want first, every or final`} {
			if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), canary) {
				t.Errorf("Subscribe() with %q = %v, want %s in it", dsn, err, want)
			}
		}
	}
	t.Setenv("SENTRY_DSN", "")
	t.Setenv("SENTRY_DSN_FILE", filepath.Join(t.TempDir(), "none"))
	if _, err := (reliablesentry.Reporter{}).Subscribe(new(reliable.Monitor)); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "SENTRY_DSN_FILE") {
		t.Errorf("Subscribe() = %v, want the file that is not there", err)
	}
}
