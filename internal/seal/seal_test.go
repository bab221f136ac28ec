package seal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/gorm-aftercommit/aftercommit/internal/seal"
)

// ring returns a ring of keys whose secrets follow from their ids.
func ring(tb testing.TB, ids ...string) *seal.Ring {
	tb.Helper()
	r := new(seal.Ring)
	for _, id := range ids {
		secret := bytes.Repeat([]byte(id+"0"), seal.KeySize)[:seal.KeySize]
		if err := errors.Join(seal.CheckKey(id, secret), r.Add(id, secret)); err != nil {
			tb.Fatal(err)
		}
	}
	return r
}

func TestRoundTrip(t *testing.T) {
	old, both, other := ring(t, "old"), ring(t, "new", "old"), ring(t, "new")
	about := []byte("Order 7")
	for _, text := range []string{"", "{}", `{"iban":"DE0212"}`, strings.Repeat("x", 100_000)} {
		sealed := old.Seal(about, []byte(text))
		if !json.Valid(sealed) || !seal.Sealed(sealed) || !bytes.HasPrefix(sealed, []byte(seal.Prefix("old"))) {
			t.Fatalf("Seal(%.20q) = %.100s, want JSON that says it is sealed", text, sealed)
		}
		if text != "" && bytes.Contains(sealed, []byte(text)) {
			t.Fatalf("Seal(%.20q) has the text in it", text)
		}
		if again := old.Seal(about, []byte(text)); bytes.Equal(again, sealed) {
			t.Errorf("Seal(%.20q) twice is the same", text)
		}
		for _, r := range []*seal.Ring{old, both} {
			if got, err := r.Open(about, sealed); err != nil || string(got) != text {
				t.Errorf("Open() = %.20q, %v, want %.20q", got, err, text)
			}
		}
		var unknown *seal.UnknownKeyError
		for _, r := range []*seal.Ring{nil, other} {
			if got, err := r.Open(about, sealed); !errors.As(err, &unknown) || unknown.Key != "old" || got != nil {
				t.Errorf("Open() = %q, %v, want that the key is not known", got, err)
			}
		}
	}
	if got, err := (*seal.Ring)(nil).Open(about, []byte(`{"v":1}`)); err != nil || string(got) != `{"v":1}` {
		t.Errorf("Open() of what is not sealed = %s, %v, want it as it is", got, err)
	}
}

// Whatever is changed in a sealed text, or in what it is about, it is refused (74).
func TestAltered(t *testing.T) {
	r := ring(t, "a", "b")
	about := []byte("Order 7")
	sealed := r.Seal(about, []byte(`{"total":5}`))
	refused := func(what string, about, text []byte) {
		t.Helper()
		if got, err := r.Open(about, text); !errors.Is(err, seal.ErrAltered) || got != nil {
			t.Errorf("Open() of %s = %q, %v, want that it is altered", what, got, err)
		}
	}
	refused("another's", []byte("Order 8"), sealed)
	refused("nothing's", nil, sealed)
	for i := len(seal.Prefix("a")); i < len(sealed); i++ {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		refused("a bit flipped", about, bad)
		refused("a part", about, sealed[:i])
	}
	refused("more", about, append(bytes.Clone(sealed), ' '))
	refused("another key's", about, bytes.Replace(sealed, []byte(seal.Prefix("a")), []byte(seal.Prefix("b")), 1))
	refused("a path as a key", about, bytes.Replace(sealed, []byte(`"a"`), []byte(`"../a"`), 1))
	refused("no data", about, []byte(seal.Prefix("a")+`"}`))
	if _, err := r.Open(about, bytes.Replace(sealed, []byte(":1,"), []byte(":2,"), 1)); err == nil || !strings.Contains(err.Error(), "format") {
		t.Errorf("Open() of another format = %v, want an error that says so", err)
	}
}

func TestParts(t *testing.T) {
	one := seal.AppendPart(seal.AppendPart(nil, "ab"), "c")
	two := seal.AppendPart(seal.AppendPart(nil, "a"), "bc")
	if bytes.Equal(one, two) {
		t.Errorf("the parts ab, c and a, bc are both %q", one)
	}
}

func TestCheckKey(t *testing.T) {
	random := []byte("0123456789abcdef0123456789abcdef")
	if err := seal.CheckKey("2026-11_a.1", random); err != nil {
		t.Error(err)
	}
	for id, secret := range map[string]string{"": string(random), "a b": string(random), `a"`: string(random), "-a": string(random), "ü": string(random), "short": "canary", "zero": strings.Repeat("\x00", 32)} {
		err := seal.CheckKey(id, []byte(secret))
		if err == nil || !strings.Contains(err.Error(), "want") || strings.Contains(err.Error(), "canary") {
			t.Errorf("CheckKey(%q) = %v, want an error that says what is wanted, without the secret", id, err)
		}
	}
}

// Open refuses whatever was not sealed, and never panics (74).
func FuzzOpen(f *testing.F) {
	r := ring(f, "a")
	about := []byte("about")
	sealed := r.Seal(about, []byte("text"))
	f.Add(sealed)
	f.Add([]byte(seal.Prefix("a") + `AAAA"}`))
	f.Add([]byte(seal.Prefix("b")))
	f.Add([]byte(`{"reliable:sealed":2}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := r.Open(about, text)
		if err == nil && seal.Sealed(text) && string(got) != "text" { // no other text was ever sealed
			t.Errorf("Open(%q) = %q, want an error", text, got)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	r, about, text := ring(b, "a"), []byte("Order 7 order_updated"), bytes.Repeat([]byte("0123456789"), 50)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		r.Seal(about, text)
	}
}

func BenchmarkOpen(b *testing.B) {
	r, about := ring(b, "a"), []byte("Order 7 order_updated")
	sealed := r.Seal(about, bytes.Repeat([]byte("0123456789"), 50))
	b.SetBytes(500)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Open(about, sealed); err != nil {
			b.Fatal(err)
		}
	}
}
