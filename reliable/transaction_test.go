package reliable_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// waiting returns how many entries a transaction sees in the outbox.
func waiting(t *testing.T, tx *gorm.DB) (n int) {
	t.Helper()
	pool := tx.Statement.ConnPool // past GORM, which would have the entries written first
	if err := pool.QueryRowContext(t.Context(), "SELECT count(*) FROM outbox_entries").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// events returns the outbox's entries as "event id".
func events(t *testing.T, db *gorm.DB) []string {
	t.Helper()
	var rows []struct{ EventName, ResourceID string }
	if err := db.Raw("SELECT event_name, resource_id FROM outbox_entries ORDER BY id").Scan(&rows).Error; err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, row := range rows {
		list = append(list, strings.TrimSpace(row.EventName+" "+row.ResourceID))
	}
	return list
}

// create returns a write of a Plain by its id.
func create(tx *gorm.DB, id uint) error { return tx.Create(&Plain{ID: id}).Error }

var errBack = errors.New("roll back")

// Entries of a Transaction wait for what must find them written, and commit
// and roll back with their changes.
func TestTransaction(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  func(t *testing.T, tx *gorm.DB) error
		want []string
		err  string
	}{
		{"entries wait for the commit", func(t *testing.T, tx *gorm.DB) error {
			err := errors.Join(create(tx, 1), create(tx, 2), tx.Model(&Plain{ID: 1}).Update("qty", 5).Error, tx.Delete(&Plain{ID: 2}).Error)
			if n := waiting(t, tx); n != 0 {
				t.Errorf("%d entries are written before the commit, want 0", n)
			}
			return err
		}, []string{"plain_created 1", "plain_created 2", "plain_updated 1", "plain_destroyed 2"}, ""},
		{"an error rolls back", func(_ *testing.T, tx *gorm.DB) error { return errors.Join(create(tx, 1), errBack) }, nil, "roll back"},
		{"raw SQL finds them", func(t *testing.T, tx *gorm.DB) error {
			err := errors.Join(create(tx, 1), tx.Exec("DELETE FROM outbox_entries WHERE 1 = 0").Error)
			if n := waiting(t, tx); n != 1 {
				t.Errorf("%d entries are written before raw SQL, want 1", n)
			}
			return err
		}, []string{"plain_created 1"}, ""},
		{"a raw query finds them", func(_ *testing.T, tx *gorm.DB) error {
			var n int
			if err := errors.Join(create(tx, 1), tx.Raw("SELECT count(*) FROM outbox_entries").Scan(&n).Error); err != nil || n != 1 {
				return fmt.Errorf("%d entries are written before a raw query, want 1: %w", n, err)
			}
			return nil
		}, []string{"plain_created 1"}, ""},
		{"Record keeps the order", func(_ *testing.T, tx *gorm.DB) error {
			_, err := reliable.Record(context.Background(), tx, reliable.Entry{Context: "other", EventName: "between", Arguments: 1})
			return errors.Join(create(tx, 1), err, create(tx, 2))
		}, []string{"between", "plain_created 1", "plain_created 2"}, ""},
		{"a savepoint that is released", func(_ *testing.T, tx *gorm.DB) error {
			return errors.Join(create(tx, 1), tx.Transaction(func(tx *gorm.DB) error { return create(tx, 2) }), create(tx, 3))
		}, []string{"plain_created 1", "plain_created 2", "plain_created 3"}, ""},
		{"a savepoint that is rolled back", func(_ *testing.T, tx *gorm.DB) error {
			if err := create(tx, 1); err != nil {
				return err
			}
			_ = tx.Transaction(func(tx *gorm.DB) error { return errors.Join(create(tx, 2), errBack) })
			return create(tx, 3)
		}, []string{"plain_created 1", "plain_created 3"}, ""},
		{"a savepoint after an error", func(_ *testing.T, tx *gorm.DB) error {
			if err := create(tx, 1); err != nil {
				return err
			}
			if err := tx.Transaction(func(tx *gorm.DB) error { return errors.Join(create(tx, 2), create(tx, 1)) }); err == nil {
				return errors.New("no error for a duplicate")
			}
			return create(tx, 3)
		}, []string{"plain_created 1", "plain_created 3"}, ""},
		{"an outer savepoint", func(_ *testing.T, tx *gorm.DB) error {
			return errors.Join(create(tx, 1), tx.SavePoint("a").Error, create(tx, 2), tx.SavePoint("b").Error, create(tx, 3),
				tx.RollbackTo("a").Error, create(tx, 4))
		}, []string{"plain_created 1", "plain_created 4"}, ""},
		{"a rollback to a savepoint that fails", func(_ *testing.T, tx *gorm.DB) error {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			if err := errors.Join(create(tx, 1), tx.SavePoint("a").Error, create(tx, 2)); err != nil {
				return err
			}
			cancel()
			tx.WithContext(ctx).RollbackTo("a") // it is never sent; not every dialect of GORM's says so
			return create(tx, 3)
		}, []string{"plain_created 1", "plain_created 2", "plain_created 3"}, ""},
		{"a Transaction in it", func(_ *testing.T, tx *gorm.DB) error {
			return errors.Join(create(tx, 1), reliable.Transaction(tx, func(tx *gorm.DB) error { return create(tx, 2) }))
		}, []string{"plain_created 1", "plain_created 2"}, ""},
		{"another context", func(_ *testing.T, tx *gorm.DB) error {
			return errors.Join(create(tx, 1), create(tx.WithContext(context.Background()), 2), create(tx.Session(&gorm.Session{NewDB: true}), 3))
		}, []string{"plain_created 1", "plain_created 2", "plain_created 3"}, ""},
		{"committed by its function", func(_ *testing.T, tx *gorm.DB) error {
			return errors.Join(create(tx, 1), create(tx, 2), tx.Commit().Error)
		}, nil, "2 changes are not recorded"},
		{"a change that can't be recorded, ignored", func(_ *testing.T, tx *gorm.DB) error {
			_ = create(tx, 1)
			many := make([]Plain, 51)
			for i := range many {
				many[i].ID = uint(200 + i)
			}
			_ = tx.Create(&many)
			return nil
		}, nil, "more than 50 are not recorded"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
				db := shop(t, d)
				err := reliable.Transaction(db, func(tx *gorm.DB) error { return tt.run(t, tx) })
				if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
					t.Errorf("Transaction() = %v, want %q", err, tt.err)
				}
				if diff := cmp.Diff(tt.want, events(t, db)); diff != "" {
					t.Errorf("entries: -want +got\n%s", diff)
				}
				if err := create(db, 100); err != nil { // the connection is back
					t.Error(err)
				}
			})
		})
	}
}

// Whoever listens is woken once, at the commit.
func TestTransactionWakes(t *testing.T) {
	db := shop(t, testdb.Postgres)
	plugin, err := reliable.From(db)
	if err != nil {
		t.Fatal(err)
	}
	wake, stop := plugin.Wakes()
	defer stop()
	err = reliable.Transaction(db, func(tx *gorm.DB) error {
		defer func() {
			select {
			case <-wake:
				t.Error("woken before the commit")
			case <-time.After(20 * time.Millisecond): // ten times the first hint of a transaction of the user's
			}
		}()
		return create(tx, 1)
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-wake:
	default:
		t.Error("not woken at the commit")
	}
}

// A panic rolls back and goes on; options reach the database.
func TestTransactionPanics(t *testing.T) {
	db := shop(t, testdb.Postgres)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is gone")
			}
		}()
		_ = reliable.Transaction(db, func(tx *gorm.DB) error {
			_ = create(tx, 1)
			panic("no")
		})
	}()
	if got := events(t, db); len(got) > 0 {
		t.Errorf("entries = %q, want none", got)
	}
	err := reliable.Transaction(db, func(tx *gorm.DB) error { return create(tx, 2) }, &sql.TxOptions{ReadOnly: true})
	if err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("a write in a read-only transaction: %v, want an error", err)
	}
}
