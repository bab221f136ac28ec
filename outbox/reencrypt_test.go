package outbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/outbox"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// keys returns a ring whose secrets follow from the ids.
func keys(ids ...string) reliable.KeyRing {
	var ring reliable.KeyRing
	for _, id := range ids {
		ring = append(ring, reliable.Key{ID: id, Secret: bytes.Repeat([]byte(id+" "), 32)[:32]})
	}
	return ring
}

// withKeys opens a database as a process does that has a ring; each counts what
// its processor ran.
func withKeys(t *testing.T, url testdb.DB, ring reliable.KeyRing, ran *atomic.Int64) *gorm.DB {
	t.Helper()
	r := new(reliable.Registry)
	reliable.HandleEvent(r, "billing", "invoice_sent", "ledger", func(_ context.Context, e *reliable.OutboxEntry, card string) error {
		if want := fmt.Sprintf("card %s", e.CausalityKey); card != want || string(e.Headers) != `{"tenant":"acme"}` {
			return fmt.Errorf("arguments are %q, want %q; headers are %s", card, want, e.Headers)
		}
		ran.Add(1)
		return nil
	})
	db := url.Open(t)
	if err := errors.Join(db.Use(reliable.New(reliable.Config{Registry: r, Encryption: ring})), migrations.Up(t.Context(), db)); err != nil {
		t.Fatal(err)
	}
	return db
}

// send records invoices, each with its key in its arguments.
func send(t *testing.T, db *gorm.DB, from, to int) {
	t.Helper()
	var entries []reliable.Entry
	for i := from; i < to; i++ {
		key := fmt.Sprintf("key-%d", i)
		entries = append(entries, reliable.Entry{Context: "billing", EventName: "invoice_sent", CausalityKey: key, Arguments: "card " + key, Headers: map[string]string{"tenant": "acme"}})
	}
	err := db.Transaction(func(tx *gorm.DB) error {
		_, err := reliable.RecordAll(t.Context(), tx, entries)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// under returns how many entries are encrypted with a key.
func under(t *testing.T, db *gorm.DB, key string) (n int) {
	t.Helper()
	like := fmt.Sprintf(`{"reliable:sealed":1,"key":%q,%%`, key)
	if err := db.Raw("SELECT count(*) FROM outbox_entries WHERE arguments LIKE ? AND headers LIKE ?", like, like).Scan(&n).Error; err != nil {
		t.Fatal(err)
	}
	return n
}

// What was written in clear and under an old key is encrypted with the new one;
// what can't be decrypted, and what others keep locked, stays and is told (75).
func TestReencrypt(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		url := testdb.New(t, d)
		var ran atomic.Int64
		send(t, withKeys(t, url, nil, &ran), 0, 300)
		send(t, withKeys(t, url, keys("old"), &ran), 300, 600)
		send(t, withKeys(t, url, keys("lost"), &ran), 600, 602)
		db := withKeys(t, url, keys("new", "old"), &ran)
		send(t, db, 602, 610)
		exec(t, db, "UPDATE outbox_entries SET arguments = (SELECT arguments FROM (SELECT * FROM outbox_entries) AS other WHERE id = 400) WHERE id = 401")
		o := outbox.Of(db)
		if n, err := o.CountStale(t.Context()); err != nil || n != (outbox.Count{N: 602}) {
			t.Fatalf("CountStale() = %v, %v, want 602", n, err)
		}
		var seen []int
		got, err := o.Reencrypt(t.Context(), func(r outbox.Reencryption) { seen = append(seen, r.Done) })
		var unknown *reliable.UnknownKeyError
		if got.Done != 599 || got.Skipped != 3 || !errors.As(err, &unknown) || unknown.Key != "lost" || !errors.Is(err, reliable.ErrAltered) ||
			!strings.Contains(err.Error(), "entry 401: column arguments") || !strings.Contains(err.Error(), "entry 601:") || !strings.Contains(err.Error(), "entry 602:") {
			t.Errorf("Reencrypt() = %+v, %v, want 599, and those three that can't be decrypted", got, err)
		}
		if len(seen) < 4 || seen[0] != 200 || seen[len(seen)-1] != 599 {
			t.Errorf("progress was told of %d, want of each transaction", seen)
		}
		if n := under(t, db, "new"); n != 607 {
			t.Errorf("%d entries are encrypted with the new key, want 607", n)
		}
		shown, err := o.Reveal(t.Context(), 1)
		if err != nil || string(shown.Arguments) != `"card key-0"` || string(shown.Headers) != `{"tenant":"acme"}` {
			t.Errorf("Reveal() = %+v, %v, want it decrypted", shown, err)
		}
		if shown, err = o.Reveal(t.Context(), 401); err != nil || !strings.Contains(string(shown.Arguments), "altered") {
			t.Errorf("Reveal() of one with another's arguments = %+v, %v, want why it can't be read", shown, err)
		}
		if _, err := outbox.Of(withKeys(t, url, nil, &ran)).Reencrypt(t.Context(), nil); !errors.Is(err, outbox.ErrNoKey) {
			t.Errorf("Reencrypt() without keys = %v, want ErrNoKey", err)
		}
	})
}

// While workers work and writers write, every entry is run once, and nothing is
// left in the old form (75).
func TestReencryptBesideWorkers(t *testing.T) {
	const entries = 600
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		url := testdb.New(t, d)
		var ran atomic.Int64
		old := withKeys(t, url, keys("old"), &ran)
		send(t, old, 0, entries/2)
		db := withKeys(t, url, keys("new", "old"), &ran)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- (&worker.Worker{DB: db, PollInterval: 20 * time.Millisecond, Threads: 4}).Run(ctx)
		}()
		written := make(chan struct{})
		go func() {
			defer close(written)
			for from := entries / 2; from < entries; from += 10 {
				send(t, old, from, from+10)
			}
		}()
		o := outbox.Of(db)
		for writing := true; writing; {
			select {
			case <-written:
				writing = false
			default:
			}
			if _, err := o.Reencrypt(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
		await(t, "all are run", func() bool { return ran.Load() >= entries })
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		var left, failed int64
		if err := db.Raw("SELECT count(*) FROM outbox_entries").Scan(&left).Error; err != nil || left != 0 || ran.Load() != entries {
			t.Errorf("%d entries are left, %d were run, %v, want none and %d", left, ran.Load(), err, entries)
		}
		if err := db.Raw("SELECT count(*) FROM outbox_history WHERE error_class IS NOT NULL").Scan(&failed).Error; err != nil || failed != 0 {
			t.Errorf("%d entries failed once, %v, want none", failed, err)
		}
	})
}

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for range 3000 {
		if holds() {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	t.Fatalf("after 30 s it does not hold that %s", what)
}
