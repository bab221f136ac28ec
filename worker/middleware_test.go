package worker_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// What surrounds an attempt surrounds the callback, once: its context, its
// result and its panic pass; and one that does not call the next is a failure.
func TestMiddleware(t *testing.T) {
	type tenant struct{}
	var steps []string
	r := new(reliable.Registry)
	r.Use(func(ctx context.Context, a reliable.Attempt, next func(context.Context) error) error {
		steps = append(steps, "outer of "+a.Callback)
		return next(context.WithValue(ctx, tenant{}, "seven"))
	}, func(ctx context.Context, a reliable.Attempt, next func(context.Context) error) error {
		if a.Entry.ID == 4 {
			return nil
		}
		steps = append(steps, "inner")
		defer func() { steps = append(steps, "inner ends") }()
		return next(ctx)
	})
	r.Handle("job", "run", reliable.RecordProcessorFunc(func(ctx context.Context, e *reliable.OutboxEntry) error {
		steps = append(steps, "run for "+ctx.Value(tenant{}).(string))
		switch e.ID {
		case 2:
			return errors.New("an error")
		case 3:
			panic("a panic")
		}
		return nil
	}))
	db := testdb.New(t, testdb.SQLite).Open(t)
	if err := db.Use(reliable.New(reliable.Config{Registry: r})); err != nil {
		t.Fatal(err)
	}
	f := new(fake)
	f.put(span(4)...)
	virtual(t, &worker.Worker{DB: db, Processor: f}, func(t *testing.T, _ func() error) {
		pass(time.Second)
		done := f.durable()
		for id, want := range map[int64]string{2: "an error", 3: "a panic", 4: "without calling next"} {
			if o := done[id]; o.State != reliable.StateRetry || o.Attempts != 1 || !strings.Contains(o.ErrorMessage, want) {
				t.Errorf("outcome of entry %d is %+v, want a failure that tells %q", id, o, want)
			}
		}
		if o := done[1]; o.State != reliable.StateDone {
			t.Errorf("outcome of entry 1 is %+v, want done", o)
		}
		const one = "outer of run, inner, run for seven, inner ends, "
		if got := strings.Join(steps, ", "); got != one+one+one+"outer of run" {
			t.Errorf("steps are %s", got)
		}
	})
}
