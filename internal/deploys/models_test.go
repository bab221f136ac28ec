// Package deploys_test lets releases meet: rows that an earlier one wrote, two
// versions of a program over one table, models that have changed since.
package deploys_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// Address is part of a Parcel.
type Address struct {
	City string
	Zip  *string
}

// Parcel has a field of each kind that changesets write differently.
type Parcel struct {
	ID        uint
	Label     string
	Weight    float64
	Total     int64
	Fragile   bool
	SentAt    *time.Time `gorm:"precision:6"`
	Photo     []byte
	Tags      []string       `gorm:"serializer:json"`
	Ship      Address        `gorm:"embedded;embeddedPrefix:ship_"`
	IBAN      string         `gorm:"column:iban" reliable:"sensitive"`
	Note      string         `reliable:"-"`
	DeletedAt gorm.DeletedAt `gorm:"precision:6"`
}

// Line has a composite key.
type Line struct {
	OrderID uint   `gorm:"primaryKey;autoIncrement:false"`
	Sku     string `gorm:"primaryKey;size:50"`
	Count   int
}

// then is when everything was written.
func then() time.Time { return time.Date(2025, 1, 2, 3, 4, 5, 678901000, time.UTC) }

type tenantKey struct{}

// release is the program of these tests: what it owes, and what it saw.
type release struct {
	mu   sync.Mutex
	seen []string
	fail bool // the callback flaky fails
}

// tell notes what was run.
func (r *release) tell(ctx context.Context, e *reliable.OutboxEntry, callback string, what ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	tenant, _ := ctx.Value(tenantKey{}).(string)
	r.seen = append(r.seen, fmt.Sprintf("%02d %s: %s %s key=%q tenant=%q %s", e.ID, callback, e.EventName, e.ResourceID, e.CausalityKey, tenant, strings.TrimSpace(fmt.Sprintln(what...))))
}

// told returns what was run, in the order of entries.
func (r *release) told() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(slices.Values(r.seen))
}

// sealed reports whether the rows of a format are encrypted.
func sealed(format string) bool { return strings.HasPrefix(format, "sealed") }

// ring returns the keys of a format. The rows in testdata are under the second.
func ring(format string) reliable.KeyRing {
	if !sealed(format) {
		return nil
	}
	was := reliable.Key{ID: "2026-11", Secret: []byte("not a secret, but thirty-two long")[:32]}
	if format == *record {
		return reliable.KeyRing{was}
	}
	return reliable.KeyRing{{ID: "later", Secret: []byte("another one that is no secret at all")[:32]}, was}
}

// config is how the program uses the plugin; a reader also handles what the
// writer has nothing for.
func (r *release) config(reader bool, keys reliable.KeyRing) reliable.Config {
	registry := new(reliable.Registry)
	reliable.Register(registry, reliable.Model[Parcel]{CausalityKey: func(p *Parcel) string { return "parcel-" + p.Ship.City }})
	reliable.AfterCommit(registry, reliable.Callback[Parcel]{Name: "see", WhenGone: reliable.GoneRun, Run: func(ctx context.Context, c reliable.Change[Parcel]) error {
		r.tell(ctx, c.Entry, "see", change(c, showParcel))
		return nil
	}})
	reliable.AfterCommit(registry, reliable.Callback[Parcel]{
		Name: "flaky", On: reliable.OpCreate,
		If:      func(c reliable.Change[Parcel]) bool { return c.Model.Label == "flaky" },
		Backoff: func(int) time.Duration { return time.Hour },
		Run: func(ctx context.Context, c reliable.Change[Parcel]) error {
			if r.fail {
				return errors.New(`not "yet"`)
			}
			r.tell(ctx, c.Entry, "flaky", "attempt", c.Attempt, c.IdempotencyKey())
			return nil
		},
	})
	reliable.AfterCommit(registry, reliable.Callback[Line]{Name: "count", WhenGone: reliable.GoneRun, Run: func(ctx context.Context, c reliable.Change[Line]) error {
		r.tell(ctx, c.Entry, "count", change(c, show[Line]))
		return nil
	}})
	handler := func(name string) reliable.RecordProcessorFunc {
		return func(ctx context.Context, e *reliable.OutboxEntry) error {
			r.tell(ctx, e, name, string(e.Arguments))
			return nil
		}
	}
	registry.Handle("billing", "ledger", handler("ledger"))
	if reader {
		registry.Handle("later", "now", handler("now"))
	}
	return reliable.Config{
		Registry:   registry,
		Encryption: keys,
		Headers: func(ctx context.Context) map[string]string {
			if tenant, ok := ctx.Value(tenantKey{}).(string); ok {
				return map[string]string{"tenant": tenant}
			}
			return nil
		},
		ContextWithHeaders: func(ctx context.Context, headers map[string]string) context.Context {
			return context.WithValue(ctx, tenantKey{}, headers["tenant"])
		},
	}
}

// change shows all that a callback is told of a change.
func change[T any](c reliable.Change[T], show func(*T) string) string {
	changed := make([]string, 0)
	for column := range c.Changeset() {
		changed = append(changed, column)
	}
	slices.Sort(changed)
	return fmt.Sprintf("%s gone=%t soft=%t restored=%t\n   model  %s\n   before %s\n   after  %s\n   changed %s",
		c.Operation, c.Gone, c.SoftDeleted, c.Restored, show(c.Model), show(c.Before()), show(c.After()), strings.Join(changed, " "))
}

func show[T any](v *T) string {
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func showParcel(p *Parcel) string {
	if p != nil && p.SentAt != nil {
		at := p.SentAt.UTC()
		p.SentAt = &at
	}
	if p != nil && p.DeletedAt.Valid {
		p.DeletedAt.Time = p.DeletedAt.Time.UTC()
	}
	return show(p)
}

// open connects to a database with the plugin, the outbox and tables of models.
func open(t *testing.T, url testdb.DB, config reliable.Config, models ...any) *gorm.DB {
	t.Helper()
	db := url.Open(t, &gorm.Config{NowFunc: then, Logger: logger.Discard})
	if err := errors.Join(db.AutoMigrate(models...), db.Use(reliable.New(config)), migrations.Up(t.Context(), db)); err != nil {
		t.Fatal(err)
	}
	return db
}

// start runs a worker until stop is called.
func start(t *testing.T, w *worker.Worker) (stop func()) {
	t.Helper()
	w.PollInterval = 10 * time.Millisecond
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ran := make(chan error, 1)
	go func() { ran <- w.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// count returns how many rows a query counts.
func count(t *testing.T, db *gorm.DB, query string) (n int) {
	t.Helper()
	if err := db.Raw(query).Scan(&n).Error; err != nil {
		t.Fatal(err)
	}
	return n
}

// eventually waits until ok says so, or fails the test.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within a minute: %s", what)
		}
	}
}
