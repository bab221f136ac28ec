package reliable

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"
)

// ErrShutdown is the cause of a callback's cancelled context when its worker
// drains. The interrupted run burns no attempt.
var ErrShutdown = errors.New("reliable: the worker is shutting down")

// ErrLeaseLost is the cause of a callback's cancelled context when its worker
// no longer holds the entry: another worker may already run it.
var ErrLeaseLost = errors.New("reliable: the lease on the entry is lost")

type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

// Permanent wraps err so that the callback that returns it is dead at once: it
// is not retried. A nil err stays nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

type snoozeError struct{ delay time.Duration }

func (e *snoozeError) Error() string { return fmt.Sprintf("snoozed for %s", e.delay) }

// Snooze makes the callback that returns it run again after d, without burning
// an attempt. A d below zero means at once.
func Snooze(d time.Duration) error { return &snoozeError{max(d, 0)} }

type discardError struct{ reason string }

func (e *discardError) Error() string { return "discarded: " + e.reason }

// Discard ends the callback that returns it without success and without
// failure: it is not retried, and EntryDiscarded carries the reason.
func Discard(reason string) error { return &discardError{reason} }

// timeoutError is the cause of a context that ended because a callback took
// too long.
type timeoutError struct {
	callback string
	timeout  time.Duration
}

// Error implements error.
func (e *timeoutError) Error() string {
	return fmt.Sprintf("reliable: callback %s: timed out after %s", e.callback, e.timeout)
}

// PanicError is the failure of a callback that panicked or called
// runtime.Goexit.
type PanicError struct {
	Value any    // what was given to panic; nil for runtime.Goexit
	Stack []byte // of the callback's goroutine, at the panic
}

// Error returns the panic's value as text, without the stack.
func (e *PanicError) Error() string {
	if e.Value == nil {
		return "callback called runtime.Goexit"
	}
	return "panic: " + sprint(e.Value)
}

// Unwrap returns the value if it was an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// sprint is fmt.Sprint that survives an Error or String method that panics.
func sprint(v any) (s string) {
	defer func() {
		if recover() != nil {
			s = fmt.Sprintf("%T (its text panics)", v)
		}
	}()
	if err, ok := v.(error); ok {
		return err.Error() // fmt would hide the panic, and say less
	}
	return fmt.Sprint(v)
}

// maxErrorText is the most that is stored of a failure's text, in bytes.
const maxErrorText = 8 << 10

// errorText returns the text of err as every database can store it, and anybody
// may see it: valid UTF-8, no NUL, at most [maxErrorText] bytes, without what
// [Redact] takes out. It is the one place that makes an error's text to be stored
// or logged.
func errorText(err error) string {
	text := sprint(err)
	cut := len(text) > maxErrorText
	if len(text) > 2*maxErrorText { // more is of no use, and takes long to look through
		text = text[:2*maxErrorText]
		if space := strings.LastIndexAny(text, " \t\n"); space > maxErrorText {
			text = text[:space] // half a secret would not be known
		}
	}
	text = Redact(strings.ReplaceAll(strings.ToValidUTF8(text, string(utf8.RuneError)), "\x00", " "))
	if len(text) > maxErrorText {
		cut, text = true, text[:maxErrorText-len("...")]
		for { // a character that was cut apart
			r, size := utf8.DecodeLastRuneInString(text)
			if r != utf8.RuneError || size != 1 {
				break
			}
			text = text[:len(text)-1]
		}
	}
	if cut && len(text) <= maxErrorText-len("...") {
		text += "..."
	}
	return text
}

// cleanError is an error whose text has a secret in it, for events: it tells the
// text without.
type cleanError struct {
	text string
	err  error
}

// cleanErr returns err, or an error without its secrets that wraps it.
func cleanErr(err error) error {
	if err == nil {
		return nil
	}
	if text := errorText(err); text != sprint(err) {
		return &cleanError{text, err}
	}
	return err
}

// Error returns the text as it is stored.
func (e *cleanError) Error() string { return e.text }

// Unwrap returns the error as the callback returned it.
func (e *cleanError) Unwrap() error { return e.err }

// Format implements [fmt.Formatter]: every verb prints the text.
func (e *cleanError) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(e.text)) }

// errorClass names the type of the innermost error that says something: the
// wrappers of the standard library do not.
func errorClass(err error) string {
	for {
		inner := errors.Unwrap(err)
		class := reflect.TypeOf(err).String()
		if inner == nil || (class != "*fmt.wrapError" && class != "*reliable.permanentError" && class != "*reliable.cleanError") {
			return class
		}
		err = inner
	}
}
