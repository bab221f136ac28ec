package reliableotel

import (
	"context"
	"errors"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Attributes of spans and metrics that no semantic convention has a name for.
const (
	keyContext  = attribute.Key("reliable.context")  // "gorm", or the application's own
	keyModel    = attribute.Key("reliable.model")    // of entries of models
	keyCallback = attribute.Key("reliable.callback") // name of the callback or record processor
	keyEvent    = attribute.Key("reliable.event")    // for example "order_created"; spans only
	keyAttempt  = attribute.Key("reliable.attempt")  // 1 for the first; spans only
	keyVerdict  = attribute.Key("reliable.verdict")  // a reliable.Verdict
)

// Values of error.type that are no Go type.
const (
	typePanic   = "panic" // also runtime.Goexit
	typeTimeout = "timeout"
)

// tracing makes a span of each attempt, and measures how long it took.
type tracing struct {
	tracer  trace.Tracer
	carrier carrier
	child   bool
	took    metric.Float64Histogram
}

// surround is a [reliable.Middleware]. A provider that panics costs the span,
// not the callback.
func (t tracing) surround(ctx context.Context, a reliable.Attempt, next func(context.Context) error) (err error) {
	ctx, span := t.start(ctx, a)
	begun := time.Now()
	returned := false
	defer func() {
		t.end(ctx, span, a, ending(ctx, a, err, returned), time.Since(begun))
	}()
	err = next(ctx)
	returned = true
	return err
}

// start begins the span of an attempt.
func (t tracing) start(ctx context.Context, a reliable.Attempt) (inside context.Context, span trace.Span) {
	defer func() {
		if recover() != nil {
			inside, span = ctx, noop.Span{}
		}
	}()
	name := destination(a)
	attributes := make([]attribute.KeyValue, 0, 10)
	attributes = append(append(attributes, callbackAttributes(a.Entry, a.Callback)...),
		semconv.MessagingSystemKey.String(System),
		semconv.MessagingOperationName("process"),
		semconv.MessagingOperationTypeProcess,
		semconv.MessagingDestinationName(name),
		keyEvent.String(a.Entry.EventName),
		keyAttempt.Int(a.Number),
	)
	var links []trace.Link
	if a.Batch == nil {
		attributes = append(attributes, semconv.MessagingMessageID(strconv.FormatInt(a.Entry.ID, 10)))
		inside = t.carrier.extract(ctx, a.Entry)
		links = link(inside)
	} else {
		attributes = append(attributes, semconv.MessagingBatchMessageCount(len(a.Batch)))
		inside, links = ctx, t.carrier.links(a.Batch)
	}
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(attributes...)}
	if !t.child || a.Batch != nil {
		options = append(options, trace.WithNewRoot(), trace.WithLinks(links...))
	}
	return t.tracer.Start(inside, "process "+name, options...)
}

// end ends the span of an attempt.
func (t tracing) end(ctx context.Context, span trace.Span, a reliable.Attempt, e end, took time.Duration) {
	defer func() { _ = recover() }() // as in start
	defer span.End()
	verdict := keyVerdict.String(string(e.verdict))
	t.took.Record(ctx, took.Seconds(), metric.WithAttributes(append(callbackAttributes(a.Entry, a.Callback), verdict)...))
	span.SetAttributes(verdict)
	if e.verdict == reliable.VerdictFailed {
		span.SetAttributes(semconv.ErrorTypeKey.String(e.class))
		span.SetStatus(codes.Error, "") // the text of an error is the application's: it may hold anything
	}
}

// end is what an attempt came to.
type end struct {
	verdict reliable.Verdict
	class   string // of the failure; of a batch, of the first
}

// ending says what an attempt came to. Without returned, it panicked.
func ending(ctx context.Context, a reliable.Attempt, err error, returned bool) end {
	if !returned {
		return end{reliable.VerdictFailed, typePanic}
	}
	e := end{verdict: reliable.VerdictOf(ctx, err)}
	if e.verdict != reliable.VerdictFailed {
		return e
	}
	e.class = class(ctx, err)
	if many, ok := err.(interface{ Unwrap() []error }); ok && a.Batch != nil { // of the call, not of an entry
		for _, err := range many.Unwrap() {
			if reliable.VerdictOf(ctx, err) == reliable.VerdictFailed {
				e.class = class(ctx, err)
				break
			}
		}
	}
	return e
}

// class returns the error.type of a failure.
func class(ctx context.Context, err error) string {
	if errors.Is(err, context.DeadlineExceeded) && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return typeTimeout
	}
	return reliable.ErrorClass(err)
}

// destination is where an attempt's entry goes to: the model, or the context,
// and the callback.
func destination(a reliable.Attempt) string {
	if a.Entry.Context == reliable.ContextModel {
		return a.Entry.ResourceClass + "/" + a.Callback
	}
	return a.Entry.Context + "/" + a.Callback
}

// callbackAttributes names a callback or record processor.
func callbackAttributes(e *reliable.OutboxEntry, callback string) []attribute.KeyValue {
	return append(kindAttributes(e), keyCallback.String(callback))
}

// kindAttributes names what an entry is of. The model of an entry that the
// application recorded is not among it: it may be anything.
func kindAttributes(e *reliable.OutboxEntry) []attribute.KeyValue {
	attributes := append(make([]attribute.KeyValue, 0, 4), keyContext.String(e.Context)) // with the callback, and one more
	if e.Context == reliable.ContextModel {
		attributes = append(attributes, keyModel.String(e.ResourceClass))
	}
	return attributes
}
