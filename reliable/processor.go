package reliable

import "context"

// RecordProcessor works on entries of the context that it is registered for
// with [Registry.Handle]. All that apply to an entry run, in the order of
// registration, each with attempts and a state of its own.
type RecordProcessor interface {
	// Applies refines the context: an entry that it declines counts as done
	// for this processor.
	Applies(*OutboxEntry) bool

	// Process does the work. It may run again for the same entry. Its errors
	// mean what a callback's mean.
	Process(context.Context, *OutboxEntry) error
}

// RecordProcessorFunc is a function as a RecordProcessor that applies to every
// entry of its context.
type RecordProcessorFunc func(context.Context, *OutboxEntry) error

// Applies implements [RecordProcessor]. It returns true.
func (f RecordProcessorFunc) Applies(*OutboxEntry) bool { return true }

// Process implements [RecordProcessor] by calling f.
func (f RecordProcessorFunc) Process(ctx context.Context, e *OutboxEntry) error { return f(ctx, e) }

// Attempt is one run of one callback or record processor, as [Middleware]
// sees it.
type Attempt struct {
	Entry    *OutboxEntry
	Callback string // name of the callback or record processor
	Number   int    // 1 for the first
	Token    int64  // fencing token of the claim; higher for a later claim
}

// Middleware surrounds every attempt. It must call next exactly once, with the
// context it was given or a child of it, and return next's error or a reason
// of its own; an attempt whose next was not called is a failed one.
type Middleware func(ctx context.Context, a Attempt, next func(context.Context) error) error

// handler is a registered record processor.
type handler struct {
	context, name string
	processor     RecordProcessor
}
