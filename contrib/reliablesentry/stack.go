package reliablesentry

import (
	"errors"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/getsentry/sentry-go"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// stackOf returns the stack of a panic, or of the innermost error that carries
// one, or nil.
func stackOf(err error) (stack *sentry.Stacktrace) {
	if p, ok := errors.AsType[*reliable.PanicError](err); ok {
		return parse(string(p.Stack))
	}
	for ; err != nil; err = errors.Unwrap(err) {
		if s := sentry.ExtractStacktrace(err); s != nil {
			stack = s
		}
	}
	return stack
}

// parse reads what debug.Stack wrote: pairs of lines, of a call and of its
// place, the innermost first. Values of arguments are left out.
//
//	shop.send(0xc000012345, {0x1, 0x2})
//		/src/shop/mail.go:12 +0x1d
func parse(text string) *sentry.Stacktrace {
	var frames []sentry.Frame
	_, text, _ = strings.Cut(text, "\n") // goroutine 7 [running]:
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		function, place := lines[i], strings.TrimSpace(lines[i+1])
		if function == "panic" || strings.HasPrefix(function, "panic(") {
			frames = nil // what is above it only looks at it
			continue
		}
		function = strings.TrimPrefix(function, "created by ")
		function, _, _ = strings.Cut(function, " in goroutine ")
		if open := strings.LastIndexByte(function, '('); open > 0 && strings.HasSuffix(function, ")") {
			function = function[:open]
		}
		place, _, _ = strings.Cut(place, " +0x")
		colon := strings.LastIndexByte(place, ':')
		if colon < 0 {
			continue
		}
		line, err := strconv.Atoi(place[colon+1:])
		if err != nil || strings.HasPrefix(function, "runtime.") {
			continue
		}
		frames = append(frames, sentry.NewFrame(runtime.Frame{Function: function, File: place[:colon], Line: line}))
	}
	if len(frames) == 0 {
		return nil
	}
	slices.Reverse(frames) // Sentry has the innermost last
	return &sentry.Stacktrace{Frames: frames}
}
