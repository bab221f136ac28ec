package processors

import (
	"context"
	"errors"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

type order struct {
	ID    uint
	Total int
}

// begin commits some orders and runs a processor until the test ends.
func begin(t *testing.T, d testdb.Dialect, orders int) (*NonOrdered, *gorm.DB) {
	t.Helper()
	r := new(reliable.Registry)
	reliable.AfterCreateCommit(r, "nothing", func(context.Context, reliable.Change[order]) error { return nil })
	db := testdb.New(t, d).Open(t)
	rows := make([]order, orders)
	if err := errors.Join(db.AutoMigrate(&order{}), db.Use(reliable.New(reliable.Config{Registry: r})), migrations.Up(t.Context(), db), db.Create(&rows).Error); err != nil {
		t.Fatal(err)
	}
	plugin, err := reliable.From(db)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p, ended := new(NonOrdered), make(chan error, 1)
	go func() { ended <- p.Run(ctx, Site{DB: db, Plugin: plugin, Worker: "test", Threads: 1}, func() {}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run() = %v", err)
		}
	})
	<-p.started()
	return p, db
}

func claims(t *testing.T, db *gorm.DB) (n int) {
	t.Helper()
	if err := db.Raw("SELECT count(*) FROM outbox_claims").Scan(&n).Error; err != nil {
		t.Fatal(err)
	}
	return n
}

// A claim that is broken off, at whatever moment, leaves no row that nobody
// holds.
func TestCancelledClaim(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		p, db := begin(t, d, 5)
		for i := range 150 {
			warm, err := p.Claim(t.Context(), 5) // so that the next one has a connection
			if err != nil || warm == nil || len(warm.Entries()) != 5 {
				t.Fatalf("before claim %d: %v, %v, want all entries free", i+1, warm, err)
			}
			if err := warm.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*20*time.Microsecond)
			c, err := p.Claim(ctx, 5)
			cancel()
			if c != nil {
				err = c.Release(t.Context())
			} else if ctx.Err() != nil {
				err = nil // it was broken off
			}
			if err != nil {
				t.Fatal(err)
			}
			if n := claims(t, db); n != 0 {
				t.Fatalf("after %d claims, %d rows are held by nobody, want 0", i+1, n)
			}
		}
	})
}

// When the answer to a claim's COMMIT is lost, the next claim takes its entries.
func TestClaimInDoubt(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		p, db := begin(t, d, 5)
		held, err := p.Claim(t.Context(), 2)
		if err != nil || held == nil {
			t.Fatalf("Claim() = %v, %v", held, err)
		}
		lost, err := p.Claim(t.Context(), 2)
		if err != nil || lost == nil {
			t.Fatalf("Claim() = %v, %v", lost, err)
		}
		p.mu.Lock()
		p.forget(lost.Token()) // as if its answer had never come
		p.mu.Unlock()
		p.doubt = true
		again, err := p.Claim(t.Context(), 5)
		if err != nil || again == nil || len(again.Entries()) != 3 {
			t.Fatalf("Claim() = %v, %v, want the two entries in doubt and the fifth", again, err)
		}
		if n := claims(t, db); n != 2 {
			t.Errorf("%d claims, want the two that are held", n)
		}
		for _, c := range []Claim{held, again} {
			if err := c.Release(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}
