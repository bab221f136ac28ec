package reliableotel_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/contrib/reliableotel"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// canary is in everything that must not get out.
const canary = "canary-4711"

// registry has callbacks that end in each of the ways that there are.
func registry(inside func(trace.SpanContext)) *reliable.Registry {
	r := new(reliable.Registry)
	var snoozed, failed atomic.Bool
	callback := func(name string, run func(context.Context, reliable.Change[Order]) error) {
		reliable.AfterCommit(r, reliable.Callback[Order]{Name: name, On: reliable.OpCreate, Run: run, MaxAttempts: 2, Backoff: soon})
	}
	callback("write", func(ctx context.Context, c reliable.Change[Order]) error {
		inside(trace.SpanContextFromContext(ctx))
		return c.DB().Create(&Letter{Text: canary}).Error
	})
	callback("retry", func(context.Context, reliable.Change[Order]) error {
		if failed.Swap(true) {
			return nil
		}
		return fmt.Errorf("post to https://u:%s@host: %w", canary, errors.ErrUnsupported)
	})
	callback("panic", func(context.Context, reliable.Change[Order]) error { panic(canary) })
	callback("snooze", func(context.Context, reliable.Change[Order]) error {
		if snoozed.Swap(true) {
			return nil
		}
		return reliable.Snooze(0)
	})
	callback("discard", func(context.Context, reliable.Change[Order]) error { return reliable.Discard(canary) })
	reliable.AfterCommit(r, reliable.Callback[Order]{Name: "slow", Timeout: 50 * time.Millisecond, MaxAttempts: 1, Run: func(ctx context.Context, _ reliable.Change[Order]) error {
		<-ctx.Done()
		return ctx.Err()
	}})
	reliable.AfterCommit(r, reliable.Callback[Order]{Name: "decline", If: func(reliable.Change[Order]) bool { return false }, Run: func(context.Context, reliable.Change[Order]) error { return nil }})
	reliable.AfterCreateCommit(r, "post", func(context.Context, reliable.Change[Letter]) error { return nil })
	r.HandleBatch("mail", "send", 0, reliable.BatchProcessorFunc(func(_ context.Context, entries []*reliable.OutboxEntry) []error {
		errs := make([]error, len(entries))
		for i, e := range entries {
			if e.EventName == "bad" {
				errs[i] = reliable.Permanent(&mailError{canary})
			}
		}
		return errs
	}))
	return r
}

type mailError struct{ text string }

// Error implements error.
func (e *mailError) Error() string { return e.text }

// What a change led to is found from the trace in which it was made; what is
// rolled back leaves nothing; and no secret gets out (76).
func TestEndToEnd(t *testing.T) {
	c := collect(t)
	p := newProviders(t)
	var insideWrite atomic.Pointer[trace.SpanContext]
	var stopTelemetry func() error
	db := open(t, func(db *gorm.DB) reliable.Config {
		pool, err := db.DB()
		if err != nil {
			t.Fatal(err)
		}
		config := reliable.Config{
			Registry: registry(func(sc trace.SpanContext) { insideWrite.Store(&sc) }),
			Headers:  func(context.Context) map[string]string { return map[string]string{"tenant": canary} },
		}
		stopTelemetry, err = reliableotel.Telemetry{TracerProvider: p.traces, MeterProvider: p.metrics, Pools: map[string]*sql.DB{"application": pool}}.Install(&config)
		if err != nil {
			t.Fatal(err)
		}
		return config
	})
	tracer := p.traces.Tracer("shop")
	request := func(name string, write func(ctx context.Context, tx *gorm.DB) error) trace.SpanContext {
		ctx, span := tracer.Start(t.Context(), name)
		defer span.End()
		_ = db.WithContext(ctx).Transaction(func(tx *gorm.DB) error { return write(ctx, tx) })
		return span.SpanContext()
	}
	create := func(_ context.Context, tx *gorm.DB) error { return tx.Create(&Order{Note: canary}).Error }
	request("POST /refused", func(ctx context.Context, tx *gorm.DB) error { return errors.Join(create(ctx, tx), errors.New("no")) })
	posted := request("POST /orders", create)
	mailed := request("POST /mails", func(ctx context.Context, tx *gorm.DB) error {
		_, err := reliable.RecordAll(ctx, tx, []reliable.Entry{
			{Context: "mail", EventName: "good", Arguments: canary, CausalityKey: canary},
			{Context: "mail", EventName: "bad", Arguments: canary, Headers: map[string]string{"token": canary}},
		})
		return err
	})
	stop := start(t, db)
	drained(t, db)
	stop()
	var kept int64
	if err := db.Raw("SELECT count(*) FROM outbox_history WHERE headers LIKE ? AND headers LIKE '%traceparent%'", "%tenant%"+canary+"%").Scan(&kept).Error; err != nil || kept != 2 {
		t.Errorf("%d entries keep the application's headers and the trace (%v), want 2: the others are dead", kept, err)
	}
	plugin, err := reliable.From(db)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range rareEvents() {
		plugin.Monitor().Publish(e)
	}
	if err := errors.Join(plugin.Monitor().Flush(t.Context()), p.shutdown(t.Context()), stopTelemetry()); err != nil {
		t.Fatal(err)
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != nil || len(c.bytes) == 0 {
		t.Fatalf("the collector got %d bytes, %v", len(c.bytes), c.broken)
	}
	if bytes.Contains(c.bytes, []byte(canary)) {
		t.Error("a secret got out")
	}
	for name, want := range map[string][]string{ // attempt, verdict, error.type and status of each run
		"process Order/write":   {"1 done"},
		"process Order/retry":   {"1 failed *errors.errorString STATUS_CODE_ERROR", "2 done"},
		"process Order/panic":   {"1 failed panic STATUS_CODE_ERROR", "2 failed panic STATUS_CODE_ERROR"},
		"process Order/snooze":  {"1 snoozed", "1 done"},
		"process Order/discard": {"1 discarded"},
		"process Order/decline": {"1 declined"},
		"process Order/slow":    {"1 failed timeout STATUS_CODE_ERROR"},
		"process Letter/post":   {"1 done"},
		"process mail/send":     {"1 failed *reliableotel_test.mailError STATUS_CODE_ERROR"},
	} {
		var got []string
		for _, s := range c.named(name) {
			attempt := strings.TrimPrefix(attribute(s.Attributes, "reliable.attempt"), "int_value:")
			verdict := strings.Fields(attempt + " " + attribute(s.Attributes, "reliable.verdict") + " " + attribute(s.Attributes, "error.type"))
			if code := s.Status.GetCode(); code != tracepb.Status_STATUS_CODE_UNSET {
				verdict = append(verdict, code.String())
			}
			got = append(got, strings.Join(verdict, " "))
			if s.Kind != tracepb.Span_SPAN_KIND_CONSUMER || len(s.ParentSpanId) > 0 || s.Status.GetMessage() != "" || len(s.Events) > 0 {
				t.Errorf("%s: span %v, want a consumer's root without texts", name, s)
			}
			for key, want := range map[string]string{
				"messaging.system": "aftercommit", "messaging.operation.name": "process", "messaging.operation.type": "process",
				"messaging.destination.name": strings.TrimPrefix(name, "process "),
			} {
				if got := attribute(s.Attributes, key); got != want {
					t.Errorf("%s: attribute %s is %q, want %q", name, key, got, want)
				}
			}
			origin := posted
			switch name {
			case "process Letter/post":
				origin = *insideWrite.Load()
			case "process mail/send":
				origin = mailed
			}
			if len(s.Links) != 1 || trace.TraceID(s.Links[0].TraceId) != origin.TraceID() || trace.SpanID(s.Links[0].SpanId) != origin.SpanID() {
				t.Errorf("%s: links %v, want one to %s %s", name, s.Links, origin.TraceID(), origin.SpanID())
			}
			if trace.TraceID(s.TraceId) == origin.TraceID() {
				t.Errorf("%s is in the trace of its change", name)
			}
		}
		if strings.Join(got, ", ") != strings.Join(want, ", ") {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	write := c.named("process Order/write")[0]
	if sc := insideWrite.Load(); trace.SpanID(write.SpanId) != sc.SpanID() || attribute(write.Attributes, "messaging.message.id") == "" {
		t.Errorf("a callback runs under span %s, want that of its run", sc.SpanID())
	}
	if got := attribute(c.named("process mail/send")[0].Attributes, "messaging.batch.message_count"); got != "int_value:2" {
		t.Errorf("a batch has %s messages, want 2", got)
	}
	if n := len(c.spans); n != 15 {
		t.Errorf("%d spans, want 3 of requests and 12 of runs", n)
	}
	c.checkMetrics(t)
}
