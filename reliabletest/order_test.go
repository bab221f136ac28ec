package reliabletest_test

import (
	"context"
	"errors"
	"testing"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/reliabletest"
)

// What stands behind an entry of its key that waits does not run, nor behind one
// that is dead, if the policy says so; other keys, and entries without one, go on.
func TestInOrder(t *testing.T) {
	each(t, func(t *testing.T, d testdb.Dialect) {
		var did notes
		db := open(t, d, func(r *reliable.Registry) {
			reliable.Register(r, reliable.Model[Order]{CausalityKey: func(o *Order) string { return o.Email }})
			reliable.AfterCommit(r, reliable.Callback[Order]{Name: "send", On: reliable.OpCreate, MaxAttempts: 2, Run: func(_ context.Context, c reliable.Change[Order]) error {
				did.add("%s%d", c.Model.Email, c.Model.Total)
				if c.Model.Total == 1 {
					return errors.New("not this one")
				}
				return nil
			}})
		})
		for _, tt := range []struct {
			name          string
			order         func(o *reliabletest.Outbox)
			first, second []string
		}{
			{"unordered", func(*reliabletest.Outbox) {}, []string{"a1", "a2", "b2", "3", "a4"}, []string{"a1"}},
			{"park", func(o *reliabletest.Outbox) { o.InOrder("") }, []string{"a1", "b2", "3"}, []string{"a1"}},
			{"skip", func(o *reliabletest.Outbox) { o.InOrder(reliable.KeySkip) }, []string{"a1", "b2", "3"}, []string{"a1", "a2", "a4"}},
		} {
			t.Run(tt.name, func(t *testing.T) {
				err := db.Transaction(func(tx *gorm.DB) error {
					orders := []Order{{Email: "a", Total: 1}, {Email: "a", Total: 2}, {Email: "b", Total: 2}, {Total: 3}, {Email: "a", Total: 4}}
					ok(t, tx.Create(&orders).Error)
					outbox := reliabletest.New(t, tx)
					tt.order(outbox)
					outbox.Run()
					did.want(t, tt.first...)
					outbox.AdvanceToNext()
					last := outbox.Run()
					did.want(t, tt.second...)
					if state, parked := last[0].State, last[0].Parked; state != reliable.StateDead || parked != (tt.name == "park") {
						t.Errorf("the first of key a is %v, parked %t", state, parked)
					}
					if again := outbox.Run(); len(again) > 0 {
						t.Errorf("%d more runs, want 0", len(again))
					}
					return errBack
				})
				if !errors.Is(err, errBack) {
					t.Fatal(err)
				}
			})
		}
	})
}

func TestInOrderChecksItsPolicy(t *testing.T) {
	each(t, func(t *testing.T, d testdb.Dialect) {
		tx := begin(t, open(t, d, func(*reliable.Registry) {}))
		fails(t, func(t testing.TB) { reliabletest.New(t, tx).InOrder("stop") }, `key policy "stop": want park, block or skip`)
	})
}
