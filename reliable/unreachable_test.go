package reliable_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// A model that can't be read burns an attempt, unless the database was away.
func TestUnreadModel(t *testing.T) {
	for _, tt := range []struct {
		name   string
		err    error
		burnt  int
		events int // errors of the worker's own
	}{
		{"database away", driver.ErrBadConn, 0, 1},
		{"broken query", errors.New("no such column: colour"), 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			db := shop(t, testdb.SQLite)
			if err := create(db, 1); err != nil {
				t.Fatal(err)
			}
			list := take(t, db)
			list[0].Owed = []string{"index"}
			plugin, err := reliable.From(db)
			if err != nil {
				t.Fatal(err)
			}
			events := make(chan reliable.Event, 8)
			defer plugin.Monitor().Subscribe(func(e reliable.Event) { events <- e })()
			fail := func(db *gorm.DB) { _ = db.AddError(tt.err) }
			if err := db.Callback().Query().Before("gorm:query").Register("test:fail", fail); err != nil {
				t.Fatal(err)
			}
			out := process(t.Context(), plugin.NewBatch(db, list, 1, time.Now()), list[0])
			if out.State != reliable.StateRetry || out.Attempts != tt.burnt {
				t.Errorf("the entry is to %s with %d attempts, want retry with %d", out.State, out.Attempts, tt.burnt)
			}
			if err := plugin.Monitor().Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			if len(events) != tt.events {
				t.Errorf("%d events are published, want %d", len(events), tt.events)
			}
		})
	}
}

// process runs what e owes.
func process(ctx context.Context, batch *reliable.Batch, e *reliable.OutboxEntry) (out reliable.Outcome) {
	batch.Process(ctx, e, func(o reliable.Outcome) { out = o })
	return out
}
