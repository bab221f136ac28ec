package processors

import (
	"context"
	"errors"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// alone runs a worker that sends no heartbeat and rescues nothing by itself,
// and returns a session for the test to do so.
func alone(t *testing.T, d testdb.Dialect) (*NonOrdered, *gorm.DB, *session) {
	t.Helper()
	r := new(reliable.Registry)
	r.Handle("mine", "work", reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error { return nil }))
	db := testdb.New(t, d).Open(t)
	if err := errors.Join(db.Use(reliable.New(reliable.Config{Registry: r})), migrations.Up(t.Context(), db)); err != nil {
		t.Fatal(err)
	}
	err := db.Transaction(func(tx *gorm.DB) error {
		for range 3 {
			if _, err := reliable.Record(t.Context(), tx, reliable.Entry{Context: "mine", EventName: "due"}); err != nil {
				return err
			}
		}
		return nil
	})
	plugin, missing := reliable.From(db)
	pool, closed := db.DB()
	if err := errors.Join(err, missing, closed); err != nil {
		t.Fatal(err)
	}
	p := &NonOrdered{LeaseTTL: time.Hour}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- p.Run(ctx, Site{DB: db, Plugin: plugin, Worker: "one"}, func() { close(ready) })
		close(ended)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	s := p.session(pool)
	t.Cleanup(s.close)
	return p, db, &s
}

// A lease that was given up while its heartbeat was on the way lasts until its
// time is over: nobody may have what still ends. One that another ended does not.
func TestGivenUpDuringAHeartbeat(t *testing.T) {
	p, db, s := alone(t, testdb.SQLite)
	p.lose()
	if err := p.beat(t.Context(), s); err != nil || !p.lingers() {
		t.Errorf("beat() = %v, lingers %t, want the lease to linger", err, p.lingers())
	}
	if err := errors.Join(db.Exec("DELETE FROM outbox_workers").Error, p.beat(t.Context(), s)); err != nil || p.lingers() {
		t.Errorf("beat() = %v, lingers %t without the worker's row, want the lease to be over", err, p.lingers())
	}
}

// A worker whose lease is over does not take itself for dead: neither what it
// holds, nor what it claimed under a lease before this one, is suspect.
func TestRescueSparesItself(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		p, db, s := alone(t, d)
		count := func(from string) (n int) {
			if err := db.Raw("SELECT count(*) FROM " + from).Scan(&n).Error; err != nil {
				t.Fatal(err)
			}
			return n
		}
		if claim, err := p.Claim(t.Context(), 1); err != nil || claim == nil {
			t.Fatalf("Claim() = %v, %v", claim, err)
		}
		stray := func(worker string, id int64) error {
			return db.Exec("INSERT INTO outbox_claims (worker, ids, lo, hi, alone, mark) VALUES (?, ?, ?, ?, false, 0)", worker, idList(p.dialect, []int64{id}), id, id).Error
		}
		if err := errors.Join(db.Exec("UPDATE outbox_workers SET beat_at = '2020-01-01 00:00:00'").Error, stray("one-0123abcd", 2), p.rescue(t.Context(), s)); err != nil {
			t.Fatal(err)
		}
		if w, c, suspects := count("outbox_workers"), count("outbox_claims"), count("outbox_entries WHERE suspect"); w != 1 || c != 1 || suspects != 0 {
			t.Errorf("%d workers and %d claims are left, %d entries are suspect; want 1, 1, 0", w, c, suspects)
		}
		if err := errors.Join(stray("other-0123abcd", 3), p.rescue(t.Context(), s)); err != nil {
			t.Fatal(err)
		}
		if c, suspects := count("outbox_claims"), count("outbox_entries WHERE suspect"); c != 1 || suspects != 1 {
			t.Errorf("%d claims are left, %d entries are suspect; want 1, and that of the other, which is dead", c, suspects)
		}
	})
}
