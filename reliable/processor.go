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

// BatchProcessor is a record processor for many entries at once, such as one
// request to a search index. It is registered with [Registry.HandleBatch].
type BatchProcessor interface {
	// ProcessBatch does the work for entries of one claim, in the order of
	// their ids, and returns an error for each: nil means done, others mean
	// what a callback's mean, each for its entry alone. Another number of
	// errors than of entries is a failed attempt of all of them, and so is a
	// panic. The timeout is that of one call.
	//
	// The entries are those of a claim that owe the processor and are due; one
	// that may have killed a worker comes alone. What else they owe is run by
	// the same executor, before and after the call.
	ProcessBatch(context.Context, []*OutboxEntry) []error
}

// BatchProcessorFunc is a function as a BatchProcessor.
type BatchProcessorFunc func(context.Context, []*OutboxEntry) []error

// ProcessBatch implements [BatchProcessor] by calling f.
func (f BatchProcessorFunc) ProcessBatch(ctx context.Context, entries []*OutboxEntry) []error {
	return f(ctx, entries)
}

// DefaultMaxBatch is how many entries a BatchProcessor gets at most, unless
// [Registry.HandleBatch] says otherwise.
const DefaultMaxBatch = 100

// Attempt is one run of one callback or record processor, as [Middleware]
// sees it. A call of a [BatchProcessor] is one: Entry and Number are those of
// its first entry then, and the error of next joins those of the entries.
type Attempt struct {
	Entry    *OutboxEntry
	Batch    []*OutboxEntry // all entries of a BatchProcessor's call; nil for everybody else
	Callback string         // name of the callback or record processor
	Number   int            // 1 for the first
	Token    int64          // fencing token of the claim; higher for a later claim
}

// Middleware surrounds every attempt. It must call next exactly once, with the
// context it was given or a child of it, and return next's error or a reason
// of its own; an attempt whose next was not called is a failed one. What a
// RunTx has committed, inside next, is done, whatever is returned.
type Middleware func(ctx context.Context, a Attempt, next func(context.Context) error) error

// handler is a registered record processor.
type handler struct {
	context, name string
	processor     RecordProcessor
	together      BatchProcessor // in place of processor,
	most          int            // and how many entries it takes at once
}
