package reliable_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// Posting is ordered by its account, which is coarser than its row.
type Posting struct {
	ID      uint
	Account string `gorm:"size:20"`
	Name    string `gorm:"size:20"`
}

// bank is a database of postings, and what a worker ran of them.
type bank struct {
	*gorm.DB
	writers *gorm.DB // a write that waits for ever is an error
	ran     chan string
}

func openBank(t *testing.T, d testdb.Dialect, strict bool) bank {
	t.Helper()
	b := bank{DB: testdb.New(t, d).Open(t), ran: make(chan string, 100)}
	r := new(reliable.Registry)
	reliable.Register(r, reliable.Model[Posting]{CausalityKey: func(p *Posting) string { return p.Account }, StrictOrder: strict})
	reliable.AfterCreateCommit(r, "book", func(_ context.Context, c reliable.Change[Posting]) error { b.ran <- c.Model.Name; return nil })
	if err := errors.Join(b.AutoMigrate(&Posting{}), b.Use(reliable.New(reliable.Config{Registry: r})), migrations.Up(t.Context(), b.DB)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	b.writers = b.WithContext(ctx)
	return b
}

// work runs a worker until the test is over.
func (b bank) work(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- (&worker.Worker{DB: b.DB, PollInterval: 20 * time.Millisecond}).Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
	})
}

// post writes a posting and leaves the transaction open.
func (b bank) post(account, name string) (*gorm.DB, error) {
	tx := b.writers.Begin()
	return tx, errors.Join(tx.Error, tx.Create(&Posting{Account: account, Name: name}).Error)
}

// posted writes a posting and commits.
func (b bank) posted(account, name string) error {
	tx, err := b.post(account, name)
	if err != nil {
		return errors.Join(err, tx.Rollback().Error)
	}
	return tx.Commit().Error
}

// next returns the next n names that the worker ran.
func (b bank) next(t *testing.T, n int) string {
	t.Helper()
	var names []string
	for range n {
		select {
		case name := <-b.ran:
			names = append(names, name)
		case <-time.After(30 * time.Second):
			t.Fatalf("the worker ran only %v, want %d of them", names, n)
		}
	}
	return strings.Join(names, " ")
}

// With StrictOrder, what commits late has drawn no id before: it comes after
// what committed meanwhile, also of other keys.
func TestLateCommitInStrictOrder(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		b := openBank(t, d, true)
		early, err := b.post("ann", "first")
		defer early.Rollback() // after a failure: it would hold up the end of the test
		if err != nil {
			t.Fatal(err)
		}
		late := make(chan error, 1)
		go func() { late <- b.posted("ann", "second") }()
		order := "first second"
		if waiting := keyWaits[d]; waiting != "" {
			waitFor(t, b.DB, waiting, late)
			if err := b.posted("bob", "between"); err != nil {
				t.Fatal(err)
			}
			order = "first between second"
		}
		if err := errors.Join(early.Commit().Error, <-late); err != nil {
			t.Fatal(err)
		}
		b.work(t)
		if got := b.next(t, strings.Count(order, " ")+1); got != order {
			t.Errorf("ran %s, want %s", got, order)
		}
	})
}

// Without it, what commits late has a lower id than what was worked on before:
// order is lost, and no entry. What is rolled back leaves a gap that nobody
// waits for. SQLite has one writer at a time, so that ids follow the commits.
func TestLateCommitByRow(t *testing.T) {
	for _, d := range []testdb.Dialect{testdb.Postgres, testdb.MySQL} {
		t.Run(d.String(), func(t *testing.T) {
			b := openBank(t, d, false)
			b.work(t)
			early, err := b.post("ann", "first")
			defer early.Rollback()
			if err != nil {
				t.Fatal(err)
			}
			if err := b.posted("ann", "second"); err != nil {
				t.Fatal(err)
			}
			if got := b.next(t, 1); got != "second" {
				t.Errorf("ran %s while the first is not committed, want second", got)
			}
			gone, err := b.post("ann", "gone")
			if err := errors.Join(err, gone.Rollback().Error, b.posted("ann", "third")); err != nil {
				t.Fatal(err)
			}
			if got := b.next(t, 1); got != "third" {
				t.Errorf("ran %s beyond the gap, want third", got)
			}
			if err := early.Commit().Error; err != nil {
				t.Fatal(err)
			}
			if got := b.next(t, 1); got != "first" {
				t.Errorf("ran %s after the late commit, want first", got)
			}
		})
	}
}
