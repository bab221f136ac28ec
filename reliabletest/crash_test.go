package reliabletest_test

import (
	"context"
	"testing"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/reliabletest"
)

// A process that dies leaves the entry to the next; what a RunTx has committed
// is done.
func TestCrash(t *testing.T) {
	for _, tt := range []struct {
		name  string
		crash map[string]reliabletest.Point
		want  []string
	}{
		{"before", map[string]reliabletest.Point{"receipt": reliabletest.BeforeRun}, []string{"receipt token 2", "line token 2", "stock token 2", "last token 2"}},
		{"after", map[string]reliabletest.Point{"receipt": reliabletest.AfterRun}, []string{"receipt token 1", "receipt token 2", "line token 2", "stock token 2", "last token 2"}},
		{"after a RunTx", map[string]reliabletest.Point{"line": reliabletest.AfterRun, "stock": reliabletest.AfterRun}, []string{"receipt token 1", "line token 1", "stock token 2", "stock token 3", "last token 3"}},
		{"after the last RunTx", map[string]reliabletest.Point{"last": reliabletest.AfterRun}, []string{"receipt token 1", "line token 1", "stock token 1", "last token 1"}},
		{"before a RunTx", map[string]reliabletest.Point{"line": reliabletest.BeforeRun}, []string{"receipt token 1", "receipt token 2", "line token 2", "stock token 2", "last token 2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			each(t, func(t *testing.T, d testdb.Dialect) {
				var did notes
				note := func(c reliable.Change[Order], what string) {
					if did.add("%s token %d", what, c.Token); c.Attempt != 1 {
						t.Errorf("%s: attempt %d, want 1: a crash burns none", what, c.Attempt)
					}
				}
				db := open(t, d, func(r *reliable.Registry) {
					reliable.AfterCreateCommit(r, "receipt", func(_ context.Context, c reliable.Change[Order]) error {
						note(c, "receipt")
						return nil
					})
					reliable.AfterCommit(r, reliable.Callback[Order]{Name: "line", On: reliable.OpCreate, RunTx: func(_ context.Context, tx *gorm.DB, c reliable.Change[Order]) error {
						note(c, "line")
						return tx.Create(&Line{Text: "a"}).Error // unique: a second time would fail
					}})
					reliable.AfterCreateCommit(r, "stock", func(_ context.Context, c reliable.Change[Order]) error {
						note(c, "stock")
						return nil
					})
					reliable.AfterCommit(r, reliable.Callback[Order]{Name: "last", On: reliable.OpCreate, RunTx: func(_ context.Context, tx *gorm.DB, c reliable.Change[Order]) error {
						note(c, "last")
						return tx.Create(&Line{Text: "b"}).Error
					}})
				})
				tx := begin(t, db)
				o := reliabletest.New(t, tx)
				ok(t, tx.Create(&Order{}).Error)
				for name, at := range tt.crash {
					o.Crash(name, at)
				}
				o.Drain()
				did.want(t, tt.want...)
			})
		})
	}
}

// A crash that a test plans and does not get is an error of it.
func TestCrashThatDoesNotHappen(t *testing.T) {
	tx := begin(t, open(t, memory, func(*reliable.Registry) {}))
	failed, _, said := watch(t, func(t testing.TB) { reliabletest.New(t, tx).Crash("recipt", reliabletest.AfterRun) })
	if want := "reliabletest: Crash(\"recipt\"): no such callback ran\n"; !failed || said != want {
		t.Errorf("failed: %t, it says %q, want %q", failed, said, want)
	}
	fails(t, func(t testing.TB) { reliabletest.New(t, tx).Crash("receipt", 0) }, "want BeforeRun or AfterRun")
}
