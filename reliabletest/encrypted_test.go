package reliabletest_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/reliabletest"
)

// A test sees what is encrypted as its callbacks do.
func TestEncrypted(t *testing.T) {
	r := new(reliable.Registry)
	var ran []string
	reliable.AfterCommit(r, reliable.Callback[Order]{Name: "receipt", Run: func(_ context.Context, c reliable.Change[Order]) error {
		ran = append(ran, c.After().Email)
		return nil
	}})
	reliable.HandleEvent(r, "billing", "sent", "ledger", func(_ context.Context, _ *reliable.OutboxEntry, n int) error {
		ran = append(ran, fmt.Sprint(n))
		return nil
	})
	db := testdb.New(t, testdb.SQLite).Open(t)
	ring := reliable.KeyRing{{ID: "k", Secret: bytes.Repeat([]byte("k "), 16)}}
	ok(t, db.Use(reliable.New(reliable.Config{Registry: r, Encryption: ring})), migrations.Up(t.Context(), db), db.AutoMigrate(&Order{}))
	tx := begin(t, db)
	ok(t, tx.Create(&Order{Email: "ann"}).Error)
	_, err := reliable.Record(t.Context(), tx, reliable.Entry{Context: "billing", EventName: "sent", Arguments: 4})
	ok(t, err)
	var stored []string
	ok(t, tx.Raw("SELECT coalesce(changeset, arguments) FROM outbox_entries").Scan(&stored).Error)
	for _, text := range stored {
		if !strings.HasPrefix(text, `{"reliable:sealed":1,"key":"k",`) {
			t.Errorf("stored is %s, want it encrypted", text)
		}
	}
	reliabletest.RequireChanged(t, reliabletest.RequireRecorded[Order](t, tx, reliable.OpCreate), "Email", nil, "ann")
	if e := reliabletest.RequireEntry(t, tx, "billing", "sent"); string(e.Arguments) != "4" {
		t.Errorf("arguments = %s, want 4", e.Arguments)
	}
	reliabletest.Drain(t, tx)
	if strings.Join(ran, " ") != "ann 4" {
		t.Errorf("ran %q, want ann and 4", ran)
	}
}
