package reliable

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

type liar struct{}

func (liar) Error() string { panic("no text") }

func TestErrorTextIsStorable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := string(rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "raw"))
		text := errorText(errors.New(strings.Repeat(raw, rapid.IntRange(1, 300).Draw(t, "times"))))
		if !utf8.ValidString(text) || strings.Contains(text, "\x00") || len(text) > maxErrorText {
			t.Fatalf("errorText() = %d bytes, valid %t, NUL %t", len(text), utf8.ValidString(text), strings.Contains(text, "\x00"))
		}
	})
	if got := errorText(liar{}); !strings.Contains(got, "its text panics") {
		t.Errorf("errorText() = %q, want a text in place of the panic", got)
	}
	if got := errorText(errors.New(strings.Repeat("x", 10<<20))); len(got) != maxErrorText {
		t.Errorf("errorText() of 10 MiB = %d bytes, want %d", len(got), maxErrorText)
	}
}

func TestErrorClassLooksThroughWrappers(t *testing.T) {
	err := fmt.Errorf("a: %w", Permanent(fmt.Errorf("b: %w", &PanicError{Value: 1})))
	if got, want := errorClass(err), "*reliable.PanicError"; got != want {
		t.Errorf("errorClass() = %q, want %q", got, want)
	}
}

func TestBackoffStaysInBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := time.Duration(rapid.Int64Range(0, math.MaxInt64).Draw(t, "base"))
		limit := time.Duration(rapid.Int64Range(0, math.MaxInt64).Draw(t, "limit"))
		attempt := rapid.IntRange(-3, math.MaxInt).Draw(t, "attempt")
		if d := Exponential(base, limit)(attempt); d < 0 || d > limit {
			t.Fatalf("Exponential(%d, %d)(%d) = %d, want 0 to the limit", base, limit, attempt, d)
		}
		if a, b := exponential(base, limit, attempt), exponential(base, limit, max(attempt, attempt+1)); b < a {
			t.Fatalf("the ceiling fell from %d to %d", a, b)
		}
	})
}
