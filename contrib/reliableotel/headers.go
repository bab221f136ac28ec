package reliableotel

import (
	"context"
	"encoding/json"
	"maps"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// carrier keeps a trace context in the headers of entries.
type carrier struct{ propagator propagation.TextMapPropagator }

// headers returns a Config.Headers that adds the trace context to next's.
func (c carrier) headers(next func(context.Context) map[string]string) func(context.Context) map[string]string {
	return func(ctx context.Context) map[string]string {
		headers := make(map[string]string)
		if next != nil {
			maps.Copy(headers, next(ctx))
		}
		maps.Copy(headers, c.inject(ctx))
		return headers
	}
}

// inject returns what the propagator writes; nothing if it panics, since a
// write must not fail for want of a trace.
func (c carrier) inject(ctx context.Context) (headers propagation.MapCarrier) {
	defer func() {
		if recover() != nil {
			headers = nil
		}
	}()
	headers = make(propagation.MapCarrier)
	c.propagator.Inject(ctx, headers)
	return headers
}

// extract returns ctx with what the entry's headers say, and ctx itself if
// they say nothing that can be read.
func (c carrier) extract(ctx context.Context, e *reliable.OutboxEntry) context.Context {
	if len(e.Headers) == 0 {
		return ctx
	}
	var headers propagation.MapCarrier
	if json.Unmarshal(e.Headers, &headers) != nil {
		return ctx
	}
	return c.propagator.Extract(ctx, headers)
}

// links returns a link to each trace context that the entries were written
// under; to one that several share, once.
func (c carrier) links(entries []*reliable.OutboxEntry) []trace.Link {
	type origin struct {
		trace trace.TraceID
		span  trace.SpanID
	}
	var links []trace.Link
	seen := make(map[origin]bool, len(entries))
	for _, e := range entries {
		for _, l := range link(c.extract(context.Background(), e)) {
			if o := (origin{l.SpanContext.TraceID(), l.SpanContext.SpanID()}); !seen[o] {
				seen[o] = true
				links = append(links, l)
			}
		}
	}
	return links
}

// link returns a link to the span that a context has from headers, if there is
// one: not to a span of this process.
func link(ctx context.Context) []trace.Link {
	sc := trace.SpanContextFromContext(ctx)
	if !sc.IsValid() || !sc.IsRemote() {
		return nil
	}
	return []trace.Link{{SpanContext: sc}}
}
