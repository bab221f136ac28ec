package reliable_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

func keyOf(text string) []byte { return bytes.Repeat([]byte(text+" "), 32)[:32] }

func TestParseKeyRing(t *testing.T) {
	one, two := keyOf("canary"), keyOf("other")
	text := "2026-11:" + base64.StdEncoding.EncodeToString(one) + ", 2026-05:" + base64.StdEncoding.EncodeToString(two) + ",\n"
	ring, err := reliable.ParseKeyRing(text)
	if err != nil || len(ring) != 2 || ring[0].ID != "2026-11" || !bytes.Equal(ring[0].Secret, one) || ring[1].ID != "2026-05" || !bytes.Equal(ring[1].Secret, two) {
		t.Fatalf("ParseKeyRing() = %v, %v, want both keys", ring, err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if text := fmt.Sprintf(verb, ring) + fmt.Sprintf(verb, &ring[0]); strings.Contains(text, "canary") || strings.Contains(text, "63616e617279") || strings.Contains(text, "99 97 110") {
			t.Errorf("a ring prints as %s with %s", text, verb)
		}
	}
	if data, err := json.Marshal(ring); err != nil || string(data) != `[{"ID":"2026-11"},{"ID":"2026-05"}]` {
		t.Errorf("a ring is %s, %v as JSON, want ids", data, err)
	}
	for text, want := range map[string]string{
		"":           "there is no key",
		" , ":        "there is no key",
		"canary":     "key 1 of the ring",
		"a:canary":   `key "a": is no base64`,
		"a:Y2FuYXJ5": `key "a": has 6 bytes`,
		text + "2026-11:" + strings.Repeat("QUFB", 10) + "QUFB": `key "2026-11": has 33 bytes`,
		strings.Replace(text, "05", "11", 1):                    "there are two keys of it",
		strings.Replace(text, "-11", "/1", 1):                   `id "2026/1"`,
		"a:x,b:y":                                               `key "b"`,
		// In the wrong order, in base64 and in hexadecimal.
		base64.StdEncoding.EncodeToString(one) + ":2026-11":                `key [44 bytes]: is no base64`,
		base64.StdEncoding.EncodeToString(one) + ":abcd":                   `id [44 bytes]: want`,
		strings.Repeat("63616e617279", 6) + ":abcd":                        `key [72 bytes]: has 3 bytes`,
		base64.StdEncoding.EncodeToString(one[:30]) + ":a,a:" + text[8:53]: `key [40 bytes]: is no base64`,
	} {
		_, err := reliable.ParseKeyRing(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "Y2Fu") || strings.Contains(err.Error(), "63616e") {
			t.Errorf("ParseKeyRing(%q) = %v, want an error with %q and no secret", text, err, want)
		}
	}
}

// Keys that are wrong are a mistake of the configuration; without keys, nothing
// may be stored that looks encrypted; what is too large is measured in clear.
func TestEncryption(t *testing.T) {
	open := func(c reliable.Config) (*gorm.DB, error) {
		c.Registry = new(reliable.Registry)
		c.Registry.Handle("billing", "ledger", reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error { return nil }))
		db := testdb.New(t, testdb.SQLite).Open(t)
		return db, errors.Join(db.Use(reliable.New(c)), migrations.Up(t.Context(), db))
	}
	record := func(db *gorm.DB, arguments any) error {
		return db.Transaction(func(tx *gorm.DB) error {
			_, err := reliable.Record(t.Context(), tx, reliable.Entry{Context: "billing", EventName: "sent", Arguments: arguments, Headers: map[string]string{"tenant": "acme"}})
			return err
		})
	}
	if _, err := open(reliable.Config{Encryption: reliable.KeyRing{{ID: "a b", Secret: []byte("canary")}}, MaxRows: -1}); err == nil ||
		!strings.Contains(err.Error(), `Config.Encryption: id "a b"`) || !strings.Contains(err.Error(), "6 bytes") || !strings.Contains(err.Error(), "MaxRows") || strings.Contains(err.Error(), "canary") {
		t.Errorf("Use() = %v, want all mistakes and no secret", err)
	}
	forged := json.RawMessage(`{"reliable:sealed":1,"key":"k"}`)
	plain, err := open(reliable.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := record(plain, forged); err == nil || !strings.Contains(err.Error(), "look like encrypted ones") {
		t.Errorf("Record() of what looks encrypted = %v, want an error", err)
	}
	if err := record(plain, json.RawMessage(` {"reliable:sealed":1}`)); err == nil {
		t.Error("Record() of what looks encrypted, behind a space, succeeds")
	}
	db, err := open(reliable.Config{Encryption: reliable.KeyRing{{ID: "k", Secret: keyOf("k")}}, MaxEntryBytes: 40})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(record(db, forged), record(db, strings.Repeat("x", 38))); err != nil {
		t.Errorf("Record() = %v, want nil: it is encrypted, and not too large in clear", err)
	}
	if err := record(db, strings.Repeat("x", 39)); err == nil || !strings.Contains(err.Error(), "41 bytes") {
		t.Errorf("Record() = %v, want that it takes 41 bytes", err)
	}
	p, err := reliable.From(db)
	if err != nil {
		t.Fatal(err)
	}
	e := &reliable.OutboxEntry{Context: "billing", EventName: "sent", Owed: []string{"ledger"}, Changeset: json.RawMessage(`{"v":1}`), Headers: json.RawMessage(`{}`)}
	p.Encrypt(e)
	if p.EncryptionKey() != "k" || e.Arguments != nil || !strings.Contains(string(e.Changeset), "sealed") {
		t.Errorf("Encrypt() = %s, %s with key %q", e.Changeset, e.Arguments, p.EncryptionKey())
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%d", "%x"} {
		for _, secret := range []string{"107 32 107 32", "6b206b20", "0x6b, 0x20, 0x6b"} {
			if text := fmt.Sprintf(verb, p); strings.Contains(text, secret) {
				t.Errorf("a plugin prints as %s with %s", text, verb)
			}
		}
	}
	named := &reliable.OutboxEntry{Headers: json.RawMessage(`{"reliable:sealed":"x"}`)}
	if err := p.Decrypt(named); err != nil {
		t.Errorf("Decrypt() of a header of that name, in clear = %v, want nil", err)
	}
	was := *e
	e.EventName = "paid"
	if err := p.Decrypt(e); !errors.Is(err, reliable.ErrAltered) || string(e.Changeset) != string(was.Changeset) {
		t.Errorf("Decrypt() of another event's = %v, want ErrAltered and no change", err)
	}
	if e.EventName = "sent"; p.Decrypt(e) != nil || string(e.Changeset) != `{"v":1}` || string(e.Headers) != `{}` || p.Decrypt(e) != nil {
		t.Errorf("Decrypt() = %s, %s, want what it was", e.Changeset, e.Headers)
	}
	if text, err := json.Marshal(e); err != nil || strings.Contains(string(text), "Changeset") || strings.Contains(string(text), "Arguments") || strings.Contains(string(text), "Headers") {
		t.Errorf("an entry is %s, %v as JSON, want nothing of what it carries", text, err)
	}
}

// BenchmarkEncryption is what a capture pays for an entry: a changeset of 300
// bytes, without keys and with.
func BenchmarkEncryption(b *testing.B) {
	for _, ring := range []reliable.KeyRing{nil, {{ID: "2026-11", Secret: keyOf("k")}}} {
		name := "clear"
		if ring != nil {
			name = "encrypted"
		}
		db := testdb.New(b, testdb.SQLite).Open(b)
		p := reliable.New(reliable.Config{Registry: new(reliable.Registry), Encryption: ring})
		if err := db.Use(p); err != nil {
			b.Fatal(err)
		}
		changeset := json.RawMessage(`{"v":1,"key":{"id":7},"set":{"note":[null,"` + strings.Repeat("x", 250) + `"]}}`)
		b.Run("encrypt/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.Encrypt(&reliable.OutboxEntry{Context: "gorm", ResourceClass: "Order", ResourceID: "7", EventName: "order_updated", Owed: []string{"receipt"}, Changeset: changeset})
			}
		})
		e := reliable.OutboxEntry{Context: "gorm", ResourceClass: "Order", ResourceID: "7", EventName: "order_updated", Owed: []string{"receipt"}, Changeset: changeset}
		p.Encrypt(&e)
		b.Run("decrypt/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				again := e
				if err := p.Decrypt(&again); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
