package processors_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

type order struct {
	ID    uint
	Total int
}

// outbox is a database with the plugin, the outbox's tables, and what its
// monitor said.
type outbox struct {
	*gorm.DB
	plugin *reliable.Plugin

	mu     sync.Mutex
	events []reliable.Event
}

func open(t *testing.T, url testdb.DB) *outbox {
	t.Helper()
	o := openTables(t, url, reliable.Tables{})
	if err := o.AutoMigrate(&order{}); err != nil {
		t.Fatal(err)
	}
	return o
}

// openTables is open for tables elsewhere, without those of the models.
func openTables(t *testing.T, url testdb.DB, tables reliable.Tables) *outbox {
	t.Helper()
	r := new(reliable.Registry)
	reliable.AfterCreateCommit(r, "nothing", func(context.Context, reliable.Change[order]) error { return nil })
	r.Handle("known", "work", reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error { return nil }))
	o := &outbox{DB: url.Open(t)}
	if err := errors.Join(o.Use(reliable.New(reliable.Config{Registry: r, Tables: tables})), migrations.Up(t.Context(), o.DB)); err != nil {
		t.Fatal(err)
	}
	var err error
	if o.plugin, err = reliable.From(o.DB); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.plugin.Monitor().Subscribe(func(e reliable.Event) {
		if e, ok := e.(*reliable.ErrorOccurred); ok {
			t.Logf("%s: %v", e.Step, e.Err)
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		o.events = append(o.events, e)
	}))
	return o
}

// heard returns what the monitor said so far of one type.
func heard[E reliable.Event](o *outbox) (found []E) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range o.events {
		if e, ok := e.(E); ok {
			found = append(found, e)
		}
	}
	return found
}

// run lets a processor run until stop is called.
func (o *outbox) run(t *testing.T, name string, p processors.EntriesProcessor) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- p.Run(ctx, processors.Site{DB: o.DB, Plugin: o.plugin, Worker: name, Threads: 1}, func() { close(ready) })
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run() = %v", err)
		}
	})
	t.Cleanup(stop)
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("Run() = %v", err)
	}
	return stop
}

func (o *outbox) exec(t *testing.T, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if err := o.Exec(s).Error; err != nil {
			t.Fatal(err)
		}
	}
}

func (o *outbox) count(t *testing.T, from string) (n int) {
	t.Helper()
	if err := o.Raw("SELECT count(*) FROM " + from).Scan(&n).Error; err != nil {
		t.Fatal(err)
	}
	return n
}

// ago is SQL for a time in the past.
func (o *outbox) ago(hours int) string {
	switch o.Name() {
	case "postgres":
		return fmt.Sprintf("now() - interval '%d hours'", hours)
	case "mysql":
		return fmt.Sprintf("utc_timestamp(6) - INTERVAL %d HOUR", hours)
	default:
		return fmt.Sprintf("strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', '%+d hours')", -hours)
	}
}

// partition makes the history's partition of a past day on PostgreSQL, and
// returns its name.
func (o *outbox) partition(t *testing.T, days int) string {
	t.Helper()
	if o.Name() != "postgres" {
		return ""
	}
	var now time.Time
	if err := o.Raw("SELECT now()").Scan(&now).Error; err != nil {
		t.Fatal(err)
	}
	from := now.UTC().Truncate(24*time.Hour).AddDate(0, 0, -days)
	name := from.Format("outbox_history_20060102")
	o.exec(t, fmt.Sprintf("CREATE TABLE %s PARTITION OF outbox_history FOR VALUES FROM ('%s+00') TO ('%s+00')",
		name, from.Format(time.DateTime), from.AddDate(0, 0, 1).Format(time.DateTime)))
	return name
}

// done puts n entries into the history that were done hours ago.
func (o *outbox) done(t *testing.T, hours, n int) {
	t.Helper()
	if hours >= 24 {
		o.partition(t, hours/24)
	}
	o.exec(t, fmt.Sprintf(`INSERT INTO outbox_history (id, kind, context, resource_class, resource_id, event_name, created_at, attempts, crashes, token, processed_at)
		SELECT %d + i, 1, 'gorm', 'order', '1', 'order_created', %s, 0, 0, 1, %[2]s FROM %s`, 1_000_000*(hours+1), o.ago(hours), o.numbers(n)))
}

// numbers is SQL for the numbers i from 1 to n.
func (o *outbox) numbers(n int) string {
	switch o.Name() {
	case "postgres":
		return fmt.Sprintf("generate_series(1, %d) i", n)
	case "mysql":
		return fmt.Sprintf("(SELECT seq AS i FROM seq_1_to_%d) n", n)
	default:
		return fmt.Sprintf("(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) SELECT i FROM n)", n)
	}
}

// waiting puts an entry into outbox_entries for each of the values that are
// given for created_at, dead_at and processed_at.
func (o *outbox) waiting(t *testing.T, times ...string) {
	t.Helper()
	for _, values := range times {
		o.exec(t, "INSERT INTO outbox_entries (kind, context, event_name, created_at, dead_at, processed_at) VALUES (7, 'nobody', 'x', "+values+")")
	}
}

// eventually waits until ok says so, or fails the test.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// often is for tests that do not wait for a minute.
const often = 30 * time.Millisecond

// rounds waits until somebody has had some more rounds of housekeeping.
func (o *outbox) rounds(t *testing.T, n int) {
	t.Helper()
	var last string
	eventually(t, "rounds of housekeeping", func() bool {
		var until string
		if err := o.Raw("SELECT coalesce(CAST(held_until AS char(30)), '') FROM outbox_duties WHERE name = 'housekeeping'").Scan(&until).Error; err != nil {
			t.Fatal(err)
		}
		if until != last {
			last = until
			n--
		}
		return n < 0
	})
}

// work creates orders, claims what is due and finishes it.
func (o *outbox) work(t *testing.T, p *processors.NonOrdered, n int) {
	t.Helper()
	orders := make([]order, n)
	if err := o.Create(&orders).Error; err != nil {
		t.Fatal(err)
	}
	c, err := p.Claim(t.Context(), n)
	if err != nil || c == nil || len(c.Entries()) != n {
		t.Fatalf("Claim() = %v, %v, want %d entries", c, err, n)
	}
	var outcomes []reliable.Outcome
	for _, e := range c.Entries() {
		outcomes = append(outcomes, reliable.Outcome{Entry: e})
	}
	if err := c.Finish(t.Context(), outcomes); err != nil {
		t.Fatal(err)
	}
}
