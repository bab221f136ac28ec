package reliabletest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/reliabletest"
)

// A rolled-back transaction's entries run, also those that callbacks write, and
// what was committed before does not.
func TestDrain(t *testing.T) {
	each(t, func(t *testing.T, d testdb.Dialect) {
		var did notes
		db := open(t, d, func(r *reliable.Registry) {
			reliable.AfterCreateCommit(r, "pay", func(_ context.Context, c reliable.Change[Order]) error {
				did.add("pay %s", c.Model.Email)
				return c.DB().Model(c.Model).Update("paid", true).Error
			})
			reliable.AfterCommit(r, reliable.Callback[Order]{
				Name: "line", On: reliable.OpUpdate,
				RunTx: func(ctx context.Context, tx *gorm.DB, c reliable.Change[Order]) error {
					did.add("line %s %t", c.Model.Email, c.Model.Paid)
					_, err := reliable.Record(ctx, tx, reliable.Entry{Context: "billing", EventName: "line_written", Arguments: c.Model.ID})
					return errors.Join(err, tx.Create(&Line{Text: c.Model.Email}).Error)
				},
			})
			r.Handle("billing", "ledger", reliable.RecordProcessorFunc(func(_ context.Context, e *reliable.OutboxEntry) error {
				did.add("ledger %s", e.Arguments)
				return nil
			}))
		})
		before := Order{Email: "before"}
		ok(t, db.Create(&before).Error)
		t.Run("drained", func(t *testing.T) {
			tx := begin(t, db)
			if d == memory { // where it can't be told apart
				reliabletest.Drain(t, tx)
				did.want(t, "pay before", "line before true", fmt.Sprintf("ledger %d", before.ID))
			}
			a, b := Order{Email: "a"}, Order{Email: "b"}
			ok(t, tx.Create(&a).Error)
			ok(t, tx.Transaction(func(tx *gorm.DB) error { return tx.Create(&b).Error }))
			undone := tx.Transaction(func(tx *gorm.DB) error { return errors.Join(errBack, tx.Create(&Order{Email: "undone"}).Error) })
			if !errors.Is(undone, errBack) {
				t.Fatal(undone)
			}
			reliabletest.Drain(t, tx)
			did.want(t, "pay a", "pay b", "line a true", "line b true", fmt.Sprintf("ledger %d", a.ID), fmt.Sprintf("ledger %d", b.ID))
			reliabletest.Drain(t, tx)
			did.want(t)
			var lines []string
			ok(t, tx.Model(&Line{}).Where("text <> 'before'").Order("id").Pluck("text", &lines).Error)
			if fmt.Sprint(lines) != "[a b]" {
				t.Errorf("lines = %v, want [a b]", lines)
			}
			ok(t, tx.Delete(&b).Error) // owes nothing
			ok(t, tx.Model(&a).Update("total", 5).Error)
			did.want(t)
			failed := reliabletest.Run(t, tx) // the line's text is unique
			did.want(t, "line a true")
			if len(failed) != 1 || failed[0].State != reliable.StateRetry {
				t.Errorf("Run() = %+v, want one outcome to be retried", failed)
			}
		})
		var orders, entries int64
		ok(t, db.Model(&Order{}).Count(&orders).Error, db.Table("outbox_entries").Count(&entries).Error)
		if orders != 1 || entries != 1 {
			t.Errorf("after the rollback there are %d orders and %d entries, want 1 and 1", orders, entries)
		}
	})
}

// What reliable.Transaction keeps back is found.
func TestDrainBuffered(t *testing.T) {
	each(t, func(t *testing.T, d testdb.Dialect) {
		var did notes
		db := open(t, d, func(r *reliable.Registry) {
			reliable.AfterCreateCommit(r, "receipt", func(_ context.Context, c reliable.Change[Order]) error {
				did.add("receipt %s", c.Model.Email)
				return nil
			})
		})
		err := reliable.Transaction(db, func(tx *gorm.DB) error {
			ok(t, tx.Create(&Order{Email: "a"}).Error)
			reliabletest.RequireRecorded[Order](t, tx, reliable.OpCreate)
			ok(t, tx.Create(&Order{Email: "b"}).Error)
			reliabletest.Drain(t, tx)
			return errBack
		})
		if !errors.Is(err, errBack) {
			t.Fatal(err)
		}
		did.want(t, "receipt a", "receipt b")
	})
}

// Transactions of parallel tests don't see each other's entries.
func TestDrainParallel(t *testing.T) {
	for _, d := range []testdb.Dialect{testdb.Postgres, testdb.MySQL} { // SQLite has one writer
		t.Run(d.String(), func(t *testing.T) {
			db := open(t, d, func(r *reliable.Registry) {
				reliable.AfterCreateCommit(r, "line", func(_ context.Context, c reliable.Change[Order]) error {
					return c.DB().Create(&Line{Text: c.Model.Email}).Error
				})
			})
			for i := range 6 {
				t.Run(fmt.Sprint(i), func(t *testing.T) {
					t.Parallel()
					tx := begin(t, db)
					want := fmt.Sprint("parallel ", i)
					ok(t, tx.Create(&Order{Email: want}).Error)
					if n := len(reliabletest.Run(t, tx)); n != 1 {
						t.Errorf("%d runs, want 1", n)
					}
					var lines []string
					ok(t, tx.Model(&Line{}).Pluck("text", &lines).Error)
					if fmt.Sprint(lines) != "["+want+"]" {
						t.Errorf("lines = %q, want %q", lines, want)
					}
				})
			}
		})
	}
}

// A test that can't be served is told why.
func TestMisuse(t *testing.T) {
	none := func(*reliable.Registry) {}
	db := open(t, testdb.SQLite, none)
	fails(t, func(t testing.TB) { reliabletest.Drain(t, db) }, "not in a transaction", "db.Begin")
	without := testdb.New(t, testdb.SQLite).Open(t)
	fails(t, func(t testing.TB) { reliabletest.Run(t, without) }, "plugin is not installed")

	maria := open(t, testdb.MySQL, func(r *reliable.Registry) {
		reliable.AfterCreateCommit(r, "receipt", func(context.Context, reliable.Change[Order]) error { return nil })
	})
	pool, err := maria.DB()
	ok(t, err)
	pool.SetMaxOpenConns(1)
	tx := begin(t, maria)
	ok(t, tx.Create(&Order{}).Error)
	fails(t, func(t testing.TB) { reliabletest.Drain(t, tx) }, "all 1 connections", "SetMaxOpenConns(2)")
}
