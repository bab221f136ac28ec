package reliabletest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/reliabletest"
)

// Retries, snoozes and entries for later run when the test's time has come, and
// not before.
func TestClock(t *testing.T) {
	each(t, func(t *testing.T, d testdb.Dialect) {
		var did notes
		db := open(t, d, func(r *reliable.Registry) {
			reliable.AfterCommit(r, reliable.Callback[Order]{
				Name: "receipt", On: reliable.OpCreate, MaxAttempts: 3, Backoff: func(attempt int) time.Duration { return time.Duration(attempt) * time.Minute },
				Run: func(_ context.Context, c reliable.Change[Order]) error {
					did.add("receipt %d", c.Attempt)
					return errors.New("mail server is down")
				},
			})
			reliable.AfterCreateCommit(r, "once", func(context.Context, reliable.Change[Order]) error {
				did.add("once")
				return nil
			})
			r.Handle("later", "report", reliable.RecordProcessorFunc(func(_ context.Context, e *reliable.OutboxEntry) error {
				did.add("report")
				if e.Arguments[0] == '1' && len(e.Callbacks) == 0 {
					return reliable.Snooze(time.Hour)
				}
				return nil
			}))
		})
		tx := begin(t, db)
		o := reliabletest.New(t, tx)
		ok(t, tx.Create(&Order{}).Error)
		o.Run()
		did.want(t, "receipt 1", "once")
		o.Run()
		o.Advance(59 * time.Second)
		o.Run()
		did.want(t)
		o.Advance(time.Second)
		o.Run()
		did.want(t, "receipt 2")
		if moved := o.AdvanceToNext(); moved < 2*time.Minute || moved > 2*time.Minute+time.Millisecond {
			t.Errorf("AdvanceToNext() = %s, want 2m0s", moved)
		}
		outcomes := o.Run()
		did.want(t, "receipt 3")
		if len(outcomes) != 1 || outcomes[0].State != reliable.StateDead {
			t.Errorf("Run() = %+v, want one outcome that is dead", outcomes)
		}
		o.Advance(1000 * time.Hour)
		o.Drain()
		did.want(t)

		_, err := reliable.RecordAll(t.Context(), tx, []reliable.Entry{
			{Context: "later", EventName: "asked", Arguments: 0, RunAt: time.Now().Add(1000*time.Hour + 24*time.Hour)},
			{Context: "later", EventName: "asked", Arguments: 1},
		})
		ok(t, err)
		o.Drain()
		did.want(t, "report")
		o.Advance(time.Hour)
		o.Drain()
		did.want(t, "report")
		o.Advance(23 * time.Hour)
		o.Drain()
		did.want(t, "report")

		o = reliabletest.New(t, tx)
		ok(t, tx.Create(&Order{}).Error)
		o.Run()
		did.want(t, "receipt 1", "once")
		_, err = reliable.Record(t.Context(), tx, reliable.Entry{Context: "later", EventName: "asked", Arguments: 0, RunAt: time.Now().Add(30 * time.Second)})
		ok(t, err)
		o.Advance(30 * time.Second) // from now, not from when o was made
		o.Drain()
		did.want(t, "report")
		tx = begin(t, open(t, memory, func(*reliable.Registry) {}))
		fails(t, func(t testing.TB) { reliabletest.New(t, tx).AdvanceToNext() }, "no entry waits")
		fails(t, func(t testing.TB) { reliabletest.New(t, tx).Advance(-1) }, "time moves forward")
	})
}
