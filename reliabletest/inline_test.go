package reliabletest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/reliabletest"
)

// Callbacks have run when a commit returns, also those that callbacks owe.
func TestInline(t *testing.T) {
	each(t, func(t *testing.T, d testdb.Dialect) {
		var did notes
		plain := open(t, d, func(r *reliable.Registry) {
			reliable.AfterCreateCommit(r, "pay", func(_ context.Context, c reliable.Change[Order]) error {
				did.add("pay %s", c.Model.Email)
				return c.DB().Model(c.Model).Update("paid", true).Error
			})
			reliable.AfterCommit(r, reliable.Callback[Order]{
				Name: "line", On: reliable.OpUpdate,
				RunTx: func(_ context.Context, tx *gorm.DB, c reliable.Change[Order]) error {
					did.add("line %s", c.Model.Email)
					return tx.Create(&Line{Text: c.Model.Email}).Error
				},
			})
		})
		db, _ := reliabletest.Inline(t, plain, nil)
		create := func(email string) func(*gorm.DB) error {
			return func(tx *gorm.DB) error {
				err := tx.Create(&Order{Email: email}).Error
				did.add("written")
				return err
			}
		}
		for _, tt := range []struct {
			name string
			run  func() error
			want []string
		}{
			{"a statement", func() error { return create("a")(db) }, []string{"pay a", "line a", "written"}},
			{"a transaction", func() error { return db.Transaction(create("b")) }, []string{"written", "pay b", "line b"}},
			{"reliable.Transaction", func() error { return reliable.Transaction(db, create("c")) }, []string{"written", "pay c", "line c"}},
			{"a session", func() error {
				return db.WithContext(t.Context()).Session(&gorm.Session{NewDB: true, PrepareStmt: true}).Transaction(create("d"))
			}, []string{"written", "pay d", "line d"}},
			{"a savepoint", func() error {
				return db.Transaction(func(tx *gorm.DB) error { return errors.Join(tx.Transaction(create("e")), create("f")(tx)) })
			}, []string{"written", "written", "pay e", "pay f", "line e", "line f"}},
			{"without GORM's transaction", func() error {
				return create("g")(db.Session(&gorm.Session{SkipDefaultTransaction: true}))
			}, []string{"pay g", "line g", "written"}},
		} {
			ok(t, tt.run())
			t.Log(tt.name)
			did.want(t, tt.want...)
		}
		undone := db.Transaction(func(tx *gorm.DB) error { return errors.Join(errBack, create("undone")(tx)) })
		if !errors.Is(undone, errBack) {
			t.Fatal(undone)
		}
		did.want(t, "written")
		if n := len(reliabletest.Recorded[Order](t, db, reliable.OpCreate)); n != 7 {
			t.Errorf("%d creates are recorded, want 7", n)
		}
		ok(t, create("later")(plain)) // nobody runs what is committed past db
		did.want(t, "written")
		ok(t, db.Create(&Line{Text: "x"}).Error)
		did.want(t, "pay later", "line later")

		tx := begin(t, plain)
		fails(t, func(t testing.TB) { reliabletest.Inline(t, tx, nil) }, "in a transaction")
	})
}

// A failure is the test's, but not of the code that committed.
func TestInlineFailures(t *testing.T) {
	each(t, func(t *testing.T, d testdb.Dialect) {
		var did notes
		plain := open(t, d, func(r *reliable.Registry) {
			reliable.AfterCommit(r, reliable.Callback[Order]{
				Name: "receipt", On: reliable.OpCreate, Backoff: func(int) time.Duration { return time.Hour },
				Run: func(_ context.Context, c reliable.Change[Order]) error {
					did.add("receipt %d", c.Attempt)
					if c.Attempt == 1 {
						return errors.New("mail server is down")
					}
					return nil
				},
			})
		})
		failed, returned, said := watch(t, func(s testing.TB) {
			db, _ := reliabletest.Inline(s, plain, nil)
			ok(t, db.Create(&Order{}).Error)
		})
		if !failed || !returned || !strings.Contains(said, "callback receipt, attempt 1 failed: mail server is down") {
			t.Errorf("failed: %t, went on: %t, it says %q, want it to fail, go on, and tell what failed", failed, returned, said)
		}
		did.want(t, "receipt 1")

		var states []string
		db, o := reliabletest.Inline(t, plain, func(outcome reliable.Outcome) { states = append(states, outcome.State.String()) })
		o.Advance(30 * time.Minute) // the first still waits
		ok(t, db.Create(&Order{}).Error)
		did.want(t, "receipt 1")
		o.Crash("receipt", reliabletest.AfterRun)
		o.Advance(time.Hour)
		outcomes := o.Run()
		did.want(t, "receipt 2", "receipt 2", "receipt 2")
		if len(outcomes) != 2 || fmt.Sprint(states) != "[retry]" {
			t.Errorf("Run() = %+v, want two outcomes; report got %v, want [retry]", outcomes, states)
		}
	})
}

// Goroutines that commit at the same time get all of their callbacks run, once.
func TestInlineConcurrently(t *testing.T) {
	each(t, func(t *testing.T, d testdb.Dialect) {
		var mu sync.Mutex
		runs := make(map[string]int)
		plain := open(t, d, func(r *reliable.Registry) {
			reliable.AfterCreateCommit(r, "count", func(_ context.Context, c reliable.Change[Order]) error {
				mu.Lock()
				defer mu.Unlock()
				runs[c.Model.Email]++
				return nil
			})
		})
		db, o := reliabletest.Inline(t, plain, nil)
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				if err := db.Create(&Order{Email: fmt.Sprint(i)}).Error; err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		mu.Lock()
		defer mu.Unlock()
		for i := range 20 {
			if n := runs[fmt.Sprint(i)]; n != 1 {
				t.Errorf("order %d: %d runs, want 1", i, n)
			}
		}
		if len(o.Run()) != 0 {
			t.Error("something was left")
		}
	})
}

// What is committed when a round has just found nothing is not forgotten, nor
// is it when the round was the test's own.
func TestInlineLate(t *testing.T) {
	for _, d := range []testdb.Dialect{testdb.Postgres, testdb.MySQL} { // where a query leaves a connection to commit with
		t.Run(d.String(), func(t *testing.T) {
			var did notes
			armed := false
			plain := open(t, d, func(r *reliable.Registry) {
				reliable.AfterCreateCommit(r, "note", func(_ context.Context, c reliable.Change[Order]) error {
					did.add("%s", c.Model.Email)
					armed = c.Model.Email != "late"
					return nil
				})
			})
			db, o := reliabletest.Inline(t, plain, nil)
			ok(t, plain.Callback().Row().After("gorm:row").Register("late", func(tx *gorm.DB) {
				if armed && strings.Contains(tx.Statement.SQL.String(), "FROM outbox_entries") {
					armed = false
					ok(t, db.Create(&Order{Email: "late"}).Error)
				}
			}))
			ok(t, db.Create(&Order{Email: "early"}).Error)
			did.want(t, "early", "late")
			ok(t, plain.Create(&Order{Email: "early"}).Error)
			if n := len(o.Run()); n != 2 {
				t.Errorf("%d runs, want 2", n)
			}
			did.want(t, "early", "late")
		})
	}
}

// A report may end the goroutine; callbacks run nevertheless, later.
func TestInlineReportEnds(t *testing.T) {
	runs := 0
	plain := open(t, memory, func(r *reliable.Registry) {
		reliable.AfterCreateCommit(r, "count", func(context.Context, reliable.Change[Order]) error {
			runs++
			return nil
		})
	})
	var db *gorm.DB
	fails(t, func(s testing.TB) {
		db, _ = reliabletest.Inline(s, plain, func(reliable.Outcome) { s.FailNow() })
		ok(t, db.Create(&Order{}).Error)
	})
	if _, returned, _ := watch(t, func(testing.TB) { ok(t, db.Create(&Order{}).Error) }); returned || runs != 2 {
		t.Errorf("the second time it went on: %t, %d runs, want false and 2", returned, runs)
	}
}
