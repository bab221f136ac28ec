package reliabletest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/reliabletest"
)

// A callback that fails ends the test, after all others have run.
func TestFailures(t *testing.T) {
	each(t, func(t *testing.T, d testdb.Dialect) {
		var did notes
		db := open(t, d, func(r *reliable.Registry) {
			reliable.AfterCreateCommit(r, "receipt", func(_ context.Context, c reliable.Change[Order]) error {
				did.add("receipt %s", c.Model.Email)
				switch c.Model.Email {
				case "bad":
					return errors.New("mail server is down")
				case "panic":
					panic("no such template")
				}
				return nil
			})
			reliable.AfterCommit(r, reliable.Callback[Order]{Name: "stock", On: reliable.OpCreate, Run: func(_ context.Context, c reliable.Change[Order]) error {
				did.add("stock %s", c.Model.Email)
				return nil
			}})
		})
		tx := begin(t, db)
		bad := Order{Email: "bad"}
		ok(t, tx.Create(&bad).Error, tx.Create(&Order{Email: "panic"}).Error, tx.Create(&Order{Email: "good"}).Error)
		fails(t, func(t testing.TB) { reliabletest.Drain(t, tx) },
			fmt.Sprintf("(order_created, Order %d): callback receipt, attempt 1 failed: mail server is down", bad.ID),
			"panic: no such template", "failure_test.go")
		did.want(t, "receipt bad", "stock bad", "receipt panic", "stock panic", "receipt good", "stock good")

		ok(t, tx.Create(&Order{Email: "bad"}).Error)
		outcomes := reliabletest.Run(t, tx)
		did.want(t, "receipt bad", "stock bad")
		if len(outcomes) != 1 || len(outcomes[0].Results) != 2 || outcomes[0].Results[0].Err == nil || outcomes[0].Results[1].Err != nil {
			t.Errorf("Run() = %+v, want one outcome: the first of two failed", outcomes)
		}
	})
}

// An error in a callback does not keep the transaction from going on; what it
// leaves behind is what it would leave in production.
func TestFailuresInTheDatabase(t *testing.T) {
	var own *gorm.DB
	broken := func(tx *gorm.DB) error { return tx.Exec("SELECT x FROM nowhere").Error }
	for _, tt := range []struct {
		name  string
		run   func(ctx context.Context, db *gorm.DB) error // db is the transaction's, if inTx
		inTx  bool
		err   string
		lines string
		pg    string // the lines on PostgreSQL, if they differ
	}{
		{name: "statement", run: func(_ context.Context, db *gorm.DB) error {
			return errors.Join(db.Create(&Line{Text: "a"}).Error, broken(db), db.Create(&Line{Text: "b"}).Error)
		}, err: "nowhere", lines: "[a b]"},
		{name: "query", run: func(_ context.Context, db *gorm.DB) error {
			var n int
			err := db.Raw("SELECT x FROM nowhere").Scan(&n).Error
			if row := db.Raw("SELECT x FROM nowhere").Row(); row != nil {
				err = errors.Join(err, row.Scan(&n))
			}
			return errors.Join(err, db.Create(&Line{Text: "a"}).Error)
		}, err: "nowhere", lines: "[a]"},
		{name: "transaction", run: func(_ context.Context, db *gorm.DB) error {
			return errors.Join(db.Create(&Line{Text: "a"}).Error, db.Transaction(func(tx *gorm.DB) error {
				return errors.Join(tx.Create(&Line{Text: "b"}).Error, broken(tx))
			}))
		}, err: "nowhere", lines: "[a]"},
		{name: "transaction that commits an error", run: func(_ context.Context, db *gorm.DB) error {
			return errors.Join(errBack, db.Transaction(func(tx *gorm.DB) error {
				err := tx.Create(&Line{Text: "a"}).Error
				_ = broken(tx)
				return err
			}))
		}, err: errBack.Error(), lines: "[a]", pg: "[]"},
		{name: "transaction whose context ends", run: func(ctx context.Context, db *gorm.DB) error {
			ctx, cancel := context.WithCancel(ctx)
			tx := db.WithContext(ctx).Begin()
			err := tx.Create(&Line{Text: "a"}).Error
			cancel()
			return errors.Join(err, tx.Commit().Error)
		}, err: "context canceled", lines: "[]"},
		{name: "savepoint", run: func(_ context.Context, db *gorm.DB) error {
			return errors.Join(errBack, db.Transaction(func(tx *gorm.DB) error {
				err := tx.Transaction(func(tx *gorm.DB) error { return errors.Join(tx.Create(&Line{Text: "a"}).Error, broken(tx)) })
				if err == nil {
					return errors.New("the savepoint's function did not fail")
				}
				return tx.Create(&Line{Text: "b"}).Error
			}))
		}, err: errBack.Error(), lines: "[b]"},
		{name: "RunTx", inTx: true, run: func(_ context.Context, tx *gorm.DB) error {
			return errors.Join(tx.Create(&Line{Text: "a"}).Error, broken(tx))
		}, err: "nowhere", lines: "[]"},
		{name: "RunTx that ended its transaction", inTx: true, run: func(_ context.Context, tx *gorm.DB) error {
			err := errors.Join(tx.Create(&Line{Text: "a"}).Error, tx.Commit().Error)
			if tx.Create(&Line{Text: "b"}).Error == nil || tx.Raw("SELECT 1").Row().Scan(new(int)) == nil {
				err = errors.Join(err, errors.New("the transaction goes on after its end"))
			}
			return err
		}, err: "RunTx ended its transaction itself", lines: "[a]"},
		{name: "the test's own transaction", run: func(_ context.Context, db *gorm.DB) error {
			return errors.Join(db.Create(&Line{Text: "a"}).Error, own.Create(&Line{Text: "b"}).Error, broken(own))
		}, err: "nowhere", lines: "[a b]", pg: "[]"}, // PostgreSQL has no other way to go on
	} {
		t.Run(tt.name, func(t *testing.T) {
			each(t, func(t *testing.T, d testdb.Dialect) {
				c := reliable.Callback[Order]{Name: "callback", Run: func(ctx context.Context, c reliable.Change[Order]) error { return tt.run(ctx, c.DB()) }}
				if tt.inTx {
					c.Run, c.RunTx = nil, func(ctx context.Context, tx *gorm.DB, _ reliable.Change[Order]) error { return tt.run(ctx, tx) }
				}
				after := 0
				db := open(t, d, func(r *reliable.Registry) {
					reliable.AfterCommit(r, c)
					reliable.AfterCreateCommit(r, "after", func(_ context.Context, c reliable.Change[Order]) error {
						after++
						return c.DB().First(&Order{}, c.Model.ID).Error
					})
				})
				tx := begin(t, db)
				own = tx
				ok(t, tx.Create(&Order{}).Error)
				outcomes := reliabletest.Run(t, tx)
				if len(outcomes) != 1 || len(outcomes[0].Results) != 2 || after != 1 || outcomes[0].Results[1].Err != nil {
					t.Fatalf("Run() = %+v, want one with two results, the second without an error", outcomes)
				}
				if err := outcomes[0].Results[0].Err; err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("the callback's error is %v, want %q in it", err, tt.err)
				}
				var lines []string
				ok(t, tx.Model(&Line{}).Order("text").Pluck("text", &lines).Error)
				want := tt.lines
				if d == testdb.Postgres && tt.pg != "" {
					want = tt.pg
				}
				if fmt.Sprint(lines) != want {
					t.Errorf("lines = %v, want %s", lines, want)
				}
			})
		})
	}
}

// Callbacks that feed themselves end the test.
func TestLoops(t *testing.T) {
	each(t, func(t *testing.T, d testdb.Dialect) {
		db := open(t, d, func(r *reliable.Registry) {
			r.Handle("loop", "again", reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error { return reliable.Snooze(0) }))
			reliable.AfterCommit(r, reliable.Callback[Order]{Name: "touch", Run: func(_ context.Context, c reliable.Change[Order]) error {
				return c.DB().Model(c.Model).Update("total", c.Model.Total+1).Error
			}})
		})
		tx := begin(t, db)
		_, err := reliable.Record(t.Context(), tx, reliable.Entry{Context: "loop", EventName: "turned"})
		ok(t, err)
		fails(t, func(t testing.TB) { reliabletest.Run(t, tx) }, "after 100 rounds", "turned of context loop")

		tx = begin(t, open(t, d, func(r *reliable.Registry) {
			reliable.AfterCommit(r, reliable.Callback[Order]{Name: "touch", Run: func(_ context.Context, c reliable.Change[Order]) error {
				return c.DB().Model(c.Model).Update("total", c.Model.Total+1).Error
			}})
		}))
		ok(t, tx.Create(&Order{}).Error)
		fails(t, func(t testing.TB) { reliabletest.Drain(t, tx) }, "callback touch", fmt.Sprint(reliable.MaxDepth))
	})
}

// So do those that write more and more.
func TestAvalanche(t *testing.T) {
	var tx *gorm.DB
	twice := func(ctx context.Context, e *reliable.OutboxEntry) error {
		_, err := reliable.RecordAll(ctx, tx, []reliable.Entry{{Context: e.Context, EventName: "fell"}, {Context: e.Context, EventName: "fell"}})
		return err
	}
	tx = begin(t, open(t, memory, func(r *reliable.Registry) { r.Handle("stone", "roll", reliable.RecordProcessorFunc(twice)) }))
	_, err := reliable.Record(t.Context(), tx, reliable.Entry{Context: "stone", EventName: "fell"})
	ok(t, err)
	fails(t, func(t testing.TB) { reliabletest.Run(t, tx) }, "after 5000 runs", "fell of context stone")
}

// A callback may end the test, and its goroutine.
func TestFailNowInCallback(t *testing.T) {
	var inner testing.TB
	quit := func(context.Context, reliable.Change[Order]) error {
		inner.FailNow()
		return nil
	}
	db := open(t, memory, func(r *reliable.Registry) { reliable.AfterCreateCommit(r, "quit", quit) })
	tx := begin(t, db)
	ok(t, tx.Create(&Order{}).Error)
	fails(t, func(t testing.TB) {
		inner = t
		reliabletest.Run(t, tx)
	})
}

// What no callback is there for is left, with a word about it.
func TestNotCovered(t *testing.T) {
	db := open(t, memory, func(*reliable.Registry) {})
	tx := begin(t, db)
	_, err := reliable.Record(t.Context(), tx, reliable.Entry{Context: "elsewhere", EventName: "happened"})
	ok(t, err)
	failed, _, said := watch(t, func(t testing.TB) { reliabletest.Drain(t, tx) })
	if failed || !strings.Contains(said, "happened of context elsewhere) is left") {
		t.Errorf("failed: %t, it says %q; want it to pass and tell that the entry is left", failed, said)
	}
}
