package reliable

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

const canary = "Canary7Hunter2"

// leaks are texts with a secret in them, as drivers, clients and applications
// write them.
func leaks() []string {
	_, badPort := url.Parse(strings.Join([]string{"postgres://ann:", "/x@db/shop"}, canary))
	sentinel := http.Header{"Authorization": {"Bearer " + canary}, "Cookie": {"session=" + canary}}
	return []string{
		"dial postgres://ann:" + canary + "@db:5432/shop?sslmode=disable: refused",
		"dial redis://:" + canary + "@cache:6379/0: i/o timeout",
		"mysql://ann:p@ss:/" + canary + "@db/shop",
		"ann:" + canary + "@tcp(db:3306)/shop?parseTime=true: access denied",
		"(ann:x/" + canary + "@unix(/run/mysqld.sock)/shop)",
		"host=db user=ann password=" + canary + " dbname=shop",
		"host=db password='a b " + canary + "' dbname=shop",
		`password = "say \"` + canary + `\""`,
		"Password: " + canary,
		"GET https://api.example.com/v1?access_token=" + canary + "&page=2: 401",
		"GET https://api.example.com/v1?api-key=" + canary + ": 401",
		"DB_PASSWORD=" + canary,
		`{"user":"ann","password":"` + canary + `"}`,
		`{"client_secret" : "` + canary + `","n":1}`,
		`body: "{\"refresh_token\":\"` + canary + `\"}"`,
		"Authorization: Bearer " + canary,
		"authorization: Basic dXNlcjo" + canary + "==\r\nHost: x",
		"X-Api-Key: " + canary,
		`curl -H "Authorization: token ` + canary + `" x`,
		"set-cookie: session=" + canary + "; Path=/",
		"the server refused bearer " + canary,
		fmt.Sprint(sentinel), fmt.Sprintf("%q", sentinel), fmt.Sprintf("%v", badPort),
		"eyJhbGciOiJIUzI1NiJ9.eyJzdWIi" + canary + ".c2lnbmF0dXJl is expired",
		"no such key sk_live_" + canary,
		"-----BEGIN RSA PRIVATE KEY-----\nMIIE" + canary + "\n-----END RSA PRIVATE KEY-----",
	}
}

// Secrets are found in all the forms of leaks, and nothing else is (76).
func TestRedact(t *testing.T) {
	for _, text := range leaks() {
		if !strings.Contains(text, canary) {
			t.Fatalf("%q has no secret", text)
		}
		got := Redact(text)
		if strings.Contains(got, canary) || strings.Contains(got, "Hunter2") || !strings.Contains(got, redacted) {
			t.Errorf("Redact(%q) = %q, want it without the secret", text, got)
		}
		if again := Redact(got); again != got {
			t.Errorf("Redact(%q) = %q, want no change", got, again)
		}
	}
	for _, text := range []string{
		"", "order 7: no such row", "dial tcp 127.0.0.1:5432: connect: connection refused", "https://example.com:8080/a?b=c",
		"unexpected token: }", "bearer authentication is required", "ann@example.com has no inbox", "ERROR: duplicate key value (SQLSTATE 23505)",
		"entry 7: column changeset: encrypted with key \"2026-11\": it was altered", "postgres://ann@db/shop", "the secret is out",
	} {
		if got := Redact(text); got != text {
			t.Errorf("Redact(%q) = %q, want no change", text, got)
		}
	}
	if got, want := Redact("postgres://ann:x@db/shop"), "postgres://ann:[redacted]@db/shop"; got != want {
		t.Errorf("Redact() = %q, want %q", got, want)
	}
}

// Logs have no secret of an error, whoever made it, and of none say so (76).
func TestLogsAreClean(t *testing.T) {
	leak := errors.New("dial postgres://ann:" + canary + "@db/shop")
	for _, e := range []Event{
		&ErrorOccurred{Err: leak}, &Stopped{Err: leak}, &ShuttingDown{Cause: leak}, &WakeupDegraded{Err: leak}, &BreakerOpened{Err: leak},
		&EntryFailed{Entry: new(OutboxEntry), Err: leak}, &EntryDiscarded{Entry: new(OutboxEntry), Reason: leak.Error()},
	} {
		if _, attrs := describe(e); strings.Contains(fmt.Sprint(attrs), canary) || !strings.Contains(fmt.Sprint(attrs), redacted) {
			t.Errorf("%T is logged as %v, want it without the secret", e, attrs)
		}
	}
	m := new(Monitor)
	told := make(chan Event, 4)
	defer m.Subscribe(func(e Event) { told <- e })()
	for _, e := range []Event{&ErrorOccurred{Err: leak}, &Stopped{Err: leak}, &ShuttingDown{Cause: leak}, &WakeupDegraded{Err: leak}} {
		m.Publish(e)
		if text := fmt.Sprintf("%+v", <-told); strings.Contains(text, canary) || !strings.Contains(text, redacted) {
			t.Errorf("a subscriber is told %s, want it without the secret", text)
		}
	}
	if _, attrs := describe(&Stopped{}); !strings.Contains(fmt.Sprint(attrs), "error=<nil>") {
		t.Errorf("a clean stop is logged as %v, want that there is no error", attrs)
	}
	cleaned := cleanErr(fmt.Errorf("%w: %w", leak, ErrShutdown))
	if text := fmt.Sprintf("%v %+v %#v", cleaned, cleaned, cleaned); strings.Contains(text, canary) || !errors.Is(cleaned, ErrShutdown) || errorClass(cleaned) != errorClass(fmt.Errorf("%w: %w", leak, ErrShutdown)) {
		t.Errorf("cleaned is %s of class %s, want no secret, and that it is the error", text, errorClass(cleaned))
	}
	if got := fmt.Sprintf("%T", cleanErr(ErrShutdown)); got != fmt.Sprintf("%T", ErrShutdown) {
		t.Errorf("an error without a secret becomes a %s", got)
	}
}

// Whatever an error says, its text can be stored and shown: valid UTF-8, no NUL,
// not too long, and a secret in it is gone, also at the places where the text is
// cut (76).
func FuzzErrorText(f *testing.F) {
	for i := range leaks() {
		f.Add("before\x00 \xff", "after", uint8(i), uint16(0))
	}
	f.Add("password='", "'", uint8(3), uint16(0))
	for _, n := range []uint16{maxErrorText - 40, maxErrorText - 10, 2*maxErrorText - 60, 2*maxErrorText - 20, 2*maxErrorText - 5} {
		f.Add("", "", uint8(0), n)
		f.Add("", "", uint8(3), n)
		f.Add("", "", uint8(15), n)
	}
	f.Fuzz(func(t *testing.T, before, after string, which uint8, padding uint16) {
		all := leaks()
		leak := all[int(which)%len(all)]
		text := errorText(errors.New(before + strings.Repeat("é", int(padding)/2) + "\n" + leak + "\n" + after))
		if !utf8.ValidString(text) || strings.Contains(text, "\x00") || len(text) > maxErrorText {
			t.Fatalf("errorText() = %d bytes, valid %t, NUL %t", len(text), utf8.ValidString(text), strings.Contains(text, "\x00"))
		}
		if strings.Contains(text, canary) && !strings.Contains(before, canary) && !strings.Contains(after, canary) {
			t.Errorf("errorText() = %q, want it without the secret of %q", text, leak)
		}
	})
}

func BenchmarkErrorText(b *testing.B) {
	for _, bench := range []struct{ name, text string }{
		{"short", "send receipt of order 7: Post \"https://mail.example.com/send\": dial tcp 10.0.0.1:443: connect: connection refused"},
		{"long", strings.Repeat("the server said: no. ", 20_000)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			err := errors.New(bench.text)
			for b.Loop() {
				errorText(err)
			}
		})
	}
}
