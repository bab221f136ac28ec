package processors_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// A worker that was taken for dead while it ran a suspect alone, and lives,
// takes back what was counted: nothing killed it. What that made dead is due
// again.
func TestALostLeaseIsNoCrash(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		r := new(reliable.Registry)
		r.Handle("mine", "work", reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error { return nil }))
		db := testdb.New(t, d).Open(t)
		if err := errors.Join(db.Use(reliable.New(reliable.Config{Registry: r})), migrations.Up(t.Context(), db)); err != nil {
			t.Fatal(err)
		}
		err := db.Transaction(func(tx *gorm.DB) error {
			_, err := reliable.Record(t.Context(), tx, reliable.Entry{Context: "mine", EventName: "due"})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Exec("UPDATE outbox_entries SET suspect = true, retry_at = created_at").Error; err != nil {
			t.Fatal(err)
		}
		plugin, err := reliable.From(db)
		if err != nil {
			t.Fatal(err)
		}
		died := make(chan *reliable.EntryDied, 10)
		defer reliable.Subscribe(plugin.Monitor(), func(e *reliable.EntryDied) { died <- e })()
		starved, stop := seat(t, db, plugin, "starved", &processors.NonOrdered{LeaseTTL: 3 * time.Second, MaxCrashes: 1})
		defer stop()
		claim, err := starved.Claim(t.Context(), 10)
		if err != nil || claim == nil {
			t.Fatalf("Claim() = %v, %v, want the suspect", claim, err)
		}
		_, stopOther := seat(t, db, plugin, "other", &processors.NonOrdered{LeaseTTL: 150 * time.Millisecond, MaxCrashes: 1})
		if err := db.Exec("DELETE FROM outbox_workers WHERE id LIKE 'starved%'").Error; err != nil { // as a rescuer does
			t.Fatal(err)
		}
		if e := <-died; e.Entry.Crashes != 1 {
			t.Fatalf("EntryDied = %+v, want one crash", e)
		}
		stopOther()
		<-claim.Lost()
		again := wait(t, starved)
		if e := again.Entries()[0]; e.Crashes != 0 || e.Attempts != 0 {
			t.Errorf("claimed again with %d crashes and %d attempts, want 0 and 0", e.Crashes, e.Attempts)
		}
		if err := again.Finish(t.Context(), []reliable.Outcome{{Entry: again.Entries()[0]}}); err != nil {
			t.Fatal(err)
		}
		var n int
		if err := db.Raw("SELECT count(*) FROM outbox_history WHERE crashes = 0 AND error_class IS NULL").Scan(&n).Error; err != nil || n != 1 {
			t.Errorf("%d entries done without a blame, %v, want 1", n, err)
		}
	})
}

// seat runs a processor until stop is called.
func seat(t *testing.T, db *gorm.DB, plugin *reliable.Plugin, name string, p *processors.NonOrdered) (running *processors.NonOrdered, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- p.Run(ctx, processors.Site{DB: db, Plugin: plugin, Worker: name, Threads: 1}, func() { close(ready) })
	}()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("Run() = %v", err)
	}
	return p, sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run() = %v", err)
		}
	})
}

// wait claims until there is something.
func wait(t *testing.T, p *processors.NonOrdered) processors.Claim {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for {
		c, err := p.Claim(t.Context(), 10)
		if err != nil && !strings.Contains(err.Error(), "lease") {
			t.Fatal(err)
		}
		if c != nil {
			return c
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("nothing is due within 20 s")
		}
	}
}
