package reliablepgx_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/contrib/reliablepgx"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb/proxy"
)

// A traced commit is not followed by the hints that one gets of which the
// plugin does not know the end.
func TestGivesNoHints(t *testing.T) {
	db, count := open(t)
	if err := begun(db); err != nil {
		t.Fatal(err)
	}
	untraced := testdb.New(t, testdb.Postgres).Open(t)
	wake := install(t, untraced)
	if err := begun(untraced); err != nil {
		t.Fatal(err)
	}
	<-wake
	<-wake // the traced write's would have come before
	if count.look(); count.wakes != 1 {
		t.Errorf("%d wakes, want 1", count.wakes)
	}
}

func begun(db *gorm.DB) error {
	tx := db.Begin()
	return errors.Join(tx.Create(&Order{Total: 1}).Error, tx.Commit().Error)
}

// Who records nothing pays nothing.
func TestAllocatesNothing(t *testing.T) {
	db, _ := open(t)
	err := pinned(db.WithContext(t.Context()), func(*gorm.DB) error { return nil }, func(ctx context.Context, conn *pgx.Conn, _ pgx.Tx) error {
		n := testing.AllocsPerRun(100, func() {
			reliablepgx.Tracer{}.TraceQueryEnd(reliablepgx.Tracer{}.TraceQueryStart(ctx, conn, pgx.TraceQueryStartData{SQL: "SELECT 1"}), conn, pgx.TraceQueryEndData{})
		})
		if n != 0 {
			t.Errorf("a statement allocates %v times, want 0", n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A connection that is lost under a COMMIT may have committed: it wakes. One
// that is lost before has not.
func TestLostConnection(t *testing.T) {
	address := testdb.New(t, testdb.Postgres).URL
	p := proxy.Start(t, testdb.PostgreSQL, address)
	db, count := openURL(t, p.URL(address))
	for _, tt := range []struct {
		name string
		fate proxy.Fate
		end  func(tx *gorm.DB) error
		want int
	}{
		{"before COMMIT arrived", proxy.CutBefore, func(tx *gorm.DB) error { return tx.Commit().Error }, 1},
		{"after COMMIT arrived", proxy.CutAfter, func(tx *gorm.DB) error { return tx.Commit().Error }, 1},
		{"before COMMIT", proxy.Pass, func(tx *gorm.DB) error {
			p.Cut()
			return errors.Join(tx.Create(&Order{Total: 1}).Error, tx.Commit().Error)
		}, 0},
	} {
		count.wakes = 0
		p.OnCommit(func() proxy.Fate { return tt.fate })
		tx := db.Begin()
		if err := tx.Create(&Order{Total: 1}).Error; err != nil {
			t.Fatal(err)
		}
		if err := tt.end(tx); err == nil {
			t.Errorf("lost %s: no error", tt.name)
		}
		if count.look(); count.wakes != tt.want {
			t.Errorf("lost %s: %d wakes, want %d", tt.name, count.wakes, tt.want)
		}
	}
}
