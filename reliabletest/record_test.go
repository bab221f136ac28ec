package reliabletest_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/reliabletest"
)

// Assertions see what a transaction recorded, before and after it is drained,
// and say what there is instead.
func TestRecorded(t *testing.T) {
	each(t, func(t *testing.T, d testdb.Dialect) {
		db := open(t, d, func(r *reliable.Registry) {
			reliable.AfterCommit(r, reliable.Callback[Order]{Name: "receipt", Run: func(context.Context, reliable.Change[Order]) error { return nil }})
			r.Handle("billing", "ledger", reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error { return nil }))
		})
		if d != memory { // where it can't be told apart
			ok(t, db.Create(&Order{Email: "before"}).Error)
		}
		tx := begin(t, db)
		reliabletest.RequireNotRecorded[Order](t, tx, 0)
		note := "fragile"
		order := Order{Email: "ann", Total: 7}
		ok(t, tx.Create(&order).Error, tx.Model(&order).Updates(Order{Total: 12, Paid: true, Note: &note}).Error)
		_, err := reliable.RecordAll(t.Context(), tx, []reliable.Entry{{Context: "billing", EventName: "sent", Arguments: 4}, {Context: "billing", EventName: "sent", Arguments: 5}})
		ok(t, err)
		for range 2 {
			created := reliabletest.RequireRecorded[Order](t, tx, reliable.OpCreate)
			if created.Operation != reliable.OpCreate || created.After().Total != 7 || created.Model.Total != 12 || created.Before() != nil {
				t.Errorf("the create: %+v, after %+v, model %+v", created, created.After(), created.Model)
			}
			reliabletest.RequireChanged(t, created, "Total", nil, 7)
			last := reliabletest.RequireRecorded[Order](t, tx, 0)
			if last.Operation != reliable.OpUpdate || last.Before().Total != 7 {
				t.Errorf("the last: %+v, before %+v", last, last.Before())
			}
			reliabletest.RequireChanged(t, last, "total", 7, int64(12))
			reliabletest.RequireChanged(t, last, "Paid", false, true)
			reliabletest.RequireChanged(t, last, "Note", nil, "fragile")
			reliabletest.RequireUnchanged(t, last, "Email", "ID")
			reliabletest.RequireNotRecorded[Order](t, tx, reliable.OpDestroy)
			if e := reliabletest.RequireEntry(t, tx, "billing", "sent"); string(e.Arguments) != "5" {
				t.Errorf("arguments = %s, want 5", e.Arguments)
			}
			if n := len(reliabletest.Recorded[Order](t, tx, reliable.OpSave)); n != 2 {
				t.Errorf("%d changes, want 2", n)
			}
			reliabletest.Drain(t, tx)
		}

		there := fmt.Sprintf("(order_created, Order %d)", order.ID)
		last := reliabletest.RequireRecorded[Order](t, tx, 0)
		fails(t, func(t testing.TB) { reliabletest.RequireRecorded[Order](t, tx, reliable.OpDestroy) }, "no destroy of reliabletest_test.Order is recorded", there, "(sent of context billing)")
		fails(t, func(t testing.TB) { reliabletest.RequireNotRecorded[Order](t, tx, reliable.OpSave) }, "2 of create|update of reliabletest_test.Order, want none", there)
		fails(t, func(t testing.TB) { reliabletest.RequireRecorded[Line](t, tx, 0) }, "reliabletest_test.Line is not registered")
		fails(t, func(t testing.TB) { reliabletest.RequireEntry(t, tx, "billing", "paid") }, "no paid of context billing", there)
		fails(t, func(t testing.TB) { reliabletest.RequireChanged(t, last, "Total", 7, 13) }, "Total changed from 7 to 12, want from 7 to 13", "changed: note, paid, total")
		fails(t, func(t testing.TB) { reliabletest.RequireChanged(t, last, "Total", 8, 12) }, "want from 8 to 12")
		fails(t, func(t testing.TB) { reliabletest.RequireChanged(t, last, "Total", 7, 12.5) }, "want from 7 to 12.5")
		fails(t, func(t testing.TB) { reliabletest.RequireChanged(t, last, "Note", nil, "x") }, `want from <nil> to "x"`, `to "fragile"`)
		fails(t, func(t testing.TB) { reliabletest.RequireChanged(t, last, "Email", "a", "b") }, `Email did not change, want from "a" to "b"`)
		fails(t, func(t testing.TB) { reliabletest.RequireChanged(t, last, "Totl", 1, 2) }, `Order.Values("Totl")`, "has ID, Email, Total")
		fails(t, func(t testing.TB) { reliabletest.RequireUnchanged(t, last, "Email", "Total") }, "Total changed from 7 to 12, want it unchanged")
		nothing := begin(t, open(t, d, func(r *reliable.Registry) {
			reliable.Register(r, reliable.Model[Order]{On: reliable.OpSave})
			r.Handle(reliable.ContextModel, "all", reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error { return nil }))
		}))
		fails(t, func(t testing.TB) { reliabletest.RequireRecorded[Order](t, nothing, reliable.OpCreate) }, "recorded: nothing")
	})
}
