package reliable

import (
	"context"
	"errors"
)

// Verdict is what an attempt came to, in the eyes of a [Middleware].
type Verdict string

// The verdicts.
const (
	VerdictDone        Verdict = "done"        // nothing is left to do
	VerdictDeclined    Verdict = "declined"    // it was not due: If, Unless or Applies said so; counts as done
	VerdictFailed      Verdict = "failed"      // it is tried again, or dead
	VerdictSnoozed     Verdict = "snoozed"     // it asked to run later: see [Snooze]
	VerdictDiscarded   Verdict = "discarded"   // given up without being a failure: see [Discard]
	VerdictInterrupted Verdict = "interrupted" // the worker drains or lost its lease; no attempt is burnt
)

// VerdictOf tells a [Middleware] what the error that next returned means, by
// next's context. Of a [BatchProcessor]'s call, VerdictFailed means that at
// least one of its entries failed. What the rest of the middleware returns may
// still change it.
func VerdictOf(ctx context.Context, err error) Verdict {
	if err == nil {
		return VerdictDone
	}
	var group *groupError
	if errors.As(err, &group) {
		verdict := VerdictDone
		for _, err := range group.some {
			if verdict = VerdictOf(ctx, err); verdict == VerdictFailed {
				break
			}
		}
		return verdict
	}
	var snooze *snoozeError
	var discard *discardError
	switch {
	case errors.Is(err, errNotDue):
		return VerdictDeclined
	case errors.As(err, &discard):
		return VerdictDiscarded
	case errors.As(err, &snooze):
		return VerdictSnoozed
	}
	if cause := context.Cause(ctx); errors.Is(cause, ErrShutdown) || errors.Is(cause, ErrLeaseLost) {
		return VerdictInterrupted
	}
	return VerdictFailed
}

// ErrorClass names the kind of a failure as entries, their events and the
// column error_class do: by the Go type of the innermost error that says
// something. It tells nothing of the error's text. It is empty for nil.
func ErrorClass(err error) string {
	if err == nil {
		return ""
	}
	return errorClass(err)
}
