package reliable

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// A middleware learns what the worker makes of an error.
func TestVerdictOf(t *testing.T) {
	under := func(cause error) context.Context {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		return ctx
	}
	failure := errors.New("no")
	for _, tt := range []struct {
		name string
		ctx  context.Context
		err  error
		want Verdict
	}{
		{"nil", t.Context(), nil, VerdictDone},
		{"nil in a drain", under(ErrShutdown), nil, VerdictDone},
		{"an error", t.Context(), failure, VerdictFailed},
		{"permanent", t.Context(), Permanent(failure), VerdictFailed},
		{"snooze", t.Context(), fmt.Errorf("later: %w", Snooze(time.Second)), VerdictSnoozed},
		{"discard", t.Context(), Discard("old"), VerdictDiscarded},
		{"discard in a drain", under(ErrShutdown), Discard("old"), VerdictDiscarded},
		{"not due", t.Context(), errNotDue, VerdictDeclined},
		{"drain", under(ErrShutdown), failure, VerdictInterrupted},
		{"lease lost", under(ErrLeaseLost), failure, VerdictInterrupted},
		{"timeout", under(&timeoutError{"index", time.Second}), failure, VerdictFailed},
		{"a batch of which one failed", t.Context(), newGroupError([]error{Discard("old"), nil, failure, Snooze(0)}), VerdictFailed},
		{"a batch without a failure", t.Context(), newGroupError([]error{nil, Discard("old")}), VerdictDiscarded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := VerdictOf(tt.ctx, tt.err); got != tt.want {
				t.Errorf("VerdictOf() = %s, want %s", got, tt.want)
			}
		})
	}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{fmt.Errorf("send: %w", Permanent(context.DeadlineExceeded)), "context.deadlineExceededError"},
	} {
		if got := ErrorClass(tt.err); got != tt.want {
			t.Errorf("ErrorClass(%v) = %q, want %q", tt.err, got, tt.want)
		}
	}
}
