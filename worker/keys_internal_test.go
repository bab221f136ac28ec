package worker

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Keys are known to a worker, which says what is wrong with them, does not start
// if the program forgot them, and never tells a secret, neither theirs nor that of
// an error (75).
func TestEncryptionKeys(t *testing.T) {
	const secret = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	const variable = "RELIABLE_ENCRYPTION_KEYS=now:" + secret
	if _, err := read([]string{"DATABASE_URL=sqlite://x", variable + "x"}); err == nil || !strings.Contains(err.Error(), `RELIABLE_ENCRYPTION_KEYS: reliable: keys for encryption: secret of key "now": is no base64`) || strings.Contains(err.Error(), secret) {
		t.Errorf("read() = %v, want an error without the secret", err)
	}
	s, err := read([]string{"DATABASE_URL=sqlite://x", variable})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if s.log(slog.New(slog.NewTextHandler(&out, nil))); strings.Contains(out.String(), secret) || !strings.Contains(out.String(), "[key now] (environment)") {
		t.Errorf("the settings are logged as %s, want the id and no secret", &out)
	}
	ring, err := reliable.ParseKeyRing(s.EncryptionKeys)
	if err != nil {
		t.Fatal(err)
	}
	for _, ring := range []reliable.KeyRing{nil, ring} {
		db := testdb.New(t, testdb.SQLite).Open(t)
		if err := db.Use(reliable.New(reliable.Config{Registry: new(reliable.Registry), Encryption: ring})); err != nil {
			t.Fatal(err)
		}
		if err := s.apply(&Worker{DB: db}); (err == nil) != (ring != nil) || err != nil && !strings.Contains(err.Error(), "Config.Encryption") {
			t.Errorf("apply() with the keys %v = %v, want an error without keys", ring, err)
		}
	}
	out.Reset()
	p := program{environ: []string{"DATABASE_URL=sqlite://x"}, errors: &out}
	code := p.main(func(context.Context, string) (*Worker, error) {
		return nil, errors.New("dial postgres://ann:canary@db/shop")
	})
	if code != ExitFailure || strings.Contains(out.String(), "canary") || !strings.Contains(out.String(), "[redacted]") {
		t.Errorf("main() = %d, %s, want the error without its secret", code, &out)
	}
}
