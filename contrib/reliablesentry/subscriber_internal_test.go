package reliablesentry

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/getsentry/sentry-go"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// An error of a worker that stays is reported once a minute, with how often it
// was not.
func TestRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := &sentry.MockTransport{}
		client, err := sentry.NewClient(sentry.ClientOptions{Dsn: "https://key@host/42", Release: "1", Transport: transport})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		s := newSubscriber(Reporter{}, client)
		for range 150 {
			s.handle(&reliable.ErrorOccurred{Step: "claim", Err: errors.New("down")})
			<-time.After(time.Second)
		}
		var skipped []any
		for _, e := range transport.Events() {
			skipped = append(skipped, e.Contexts["worker"]["skipped"])
		}
		if len(skipped) != 3 || skipped[0] != 0 || skipped[1] != 59 || skipped[2] != 59 {
			t.Errorf("skipped before the reports: %v, want 0, 59 and 59 in two and a half minutes", skipped)
		}
	})
}

// What is remembered has a bound.
func TestMemory(t *testing.T) {
	client, err := sentry.NewClient(sentry.ClientOptions{Release: "1", Transport: &sentry.MockTransport{}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s := newSubscriber(Reporter{}, client)
	for i := range 3 * maxFinal {
		s.handle(&reliable.EntryFailed{Entry: &reliable.OutboxEntry{ID: int64(i)}, Err: errors.New("down")})
		s.handle(&reliable.ErrorOccurred{Step: time.Duration(i).String(), Err: errors.New("down")})
	}
	if len(s.final) > maxFinal || len(s.seen) > maxSeen {
		t.Errorf("%d entries and %d errors are remembered, want at most %d and %d", len(s.final), len(s.seen), maxFinal, maxSeen)
	}
}

// A stack is read as the runtime writes it, without the values of arguments.
func TestParse(t *testing.T) {
	const text = `goroutine 7 [running]:
runtime/debug.Stack()
	/usr/local/go/src/runtime/debug/stack.go:26 +0x5e
example.com/shop.(*caller).recover(0xc000012345)
	/src/reliable/run.go:172 +0x45
panic({0x1234, 0x5678?})
	/usr/local/go/src/runtime/panic.go:783 +0x132
example.com/shop.(*Mailer).send(...)
	/src/shop/mail.go:12
example.com/shop/v2.Receipt[...].func1({0xc0000a, 0x3}, 0x7)
	/src/shop/a: b/receipt.go:34 +0x1d
unreadable
	nowhere
created by example.com/shop.(*Pool).Start in goroutine 1
	/src/shop/pool.go:56 +0x99
`
	want := []sentry.Frame{
		{Module: "example.com/shop", Function: "(*Pool).Start", AbsPath: "/src/shop/pool.go", Lineno: 56},
		{Module: "example.com/shop/v2", Function: "Receipt[...].func1", AbsPath: "/src/shop/a: b/receipt.go", Lineno: 34},
		{Module: "example.com/shop", Function: "(*Mailer).send", AbsPath: "/src/shop/mail.go", Lineno: 12},
	}
	got := parse(text)
	if got == nil || len(got.Frames) != len(want) {
		t.Fatalf("parse() = %+v, want %d frames", got, len(want))
	}
	for i, w := range want {
		g := got.Frames[i]
		if g.Module != w.Module || g.Function != w.Function || g.AbsPath != w.AbsPath || g.Lineno != w.Lineno {
			t.Errorf("frame %d = %+v, want %+v", i, g, w)
		}
	}
	for _, text := range []string{"", "goroutine 7 [running]:", "goroutine 7 [running]:\nmain.f()"} {
		if got := parse(text); got != nil {
			t.Errorf("parse(%q) = %+v, want nothing", text, got)
		}
	}
}

// traced is an error with a stack, as some packages make them.
type traced struct{ error }

func (traced) StackTrace() []uintptr { return []uintptr{1} }

func TestStackOfAnError(t *testing.T) {
	if stackOf(errors.New("plain")) != nil {
		t.Error("an error without a stack has one")
	}
	if stackOf(errors.Join(&reliable.PanicError{Value: "x", Stack: []byte("goroutine 7 [running]:\nmain.f()\n\t/m.go:1 +0x1")})) == nil {
		t.Error("a panic that is joined has no stack")
	}
	if stackOf(reliable.Permanent(traced{errors.New("x")})) == nil {
		t.Error("an error with a stack that is wrapped has none")
	}
}
