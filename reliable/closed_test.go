package reliable_test

import (
	"context"
	"database/sql"
	"errors"
	"runtime"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// A write whose entry can't be made, by an error, a panic or the end of the
// goroutine, is not committed, whatever the application does then: it ignores
// the error, recovers, commits in a deferred call.
func TestNotRecordedIsNotCommitted(t *testing.T) {
	failures := map[string]reliable.Config{
		"entry too large":           {MaxEntryBytes: 10},
		"too many rows":             {MaxRows: 1},
		"causality key panics":      {CausalityKey: func(context.Context, any) string { panic("no key") }},
		"causality key with NUL":    {CausalityKey: func(context.Context, any) string { return "\x00" }},
		"headers panic":             {Headers: func(context.Context) map[string]string { panic("no headers") }},
		"goroutine ends":            {Headers: func(context.Context) map[string]string { runtime.Goexit(); return nil }},
		"goroutine ends in a key":   {CausalityKey: func(context.Context, any) string { runtime.Goexit(); return "" }},
		"outbox's table is missing": {},
	}
	ways := map[string]func(db *gorm.DB, write func(tx *gorm.DB) error) error{
		"default transaction": func(db *gorm.DB, write func(tx *gorm.DB) error) error { return write(db) },
		"no default transaction": func(db *gorm.DB, write func(tx *gorm.DB) error) error {
			return write(db.Session(&gorm.Session{SkipDefaultTransaction: true}))
		},
		"transaction": func(db *gorm.DB, write func(tx *gorm.DB) error) (err error) {
			tx := db.Begin()
			defer func() { err = tx.Commit().Error }()
			_ = write(tx)
			return nil
		},
		"reliable.Transaction": func(db *gorm.DB, write func(tx *gorm.DB) error) error {
			return reliable.Transaction(db, func(tx *gorm.DB) error { _ = write(tx); return nil })
		},
		"savepoint": func(db *gorm.DB, write func(tx *gorm.DB) error) (err error) {
			tx := db.Begin()
			defer func() { err = tx.Commit().Error }()
			_ = tx.Transaction(func(tx *gorm.DB) error { _ = write(tx); return nil })
			return nil
		},
	}
	writes := map[string]func(tx *gorm.DB) error{
		"create": func(tx *gorm.DB) error { return tx.Create(&[]Item{{Code: "a"}, {Code: "b"}}).Error },
		"update": func(tx *gorm.DB) error { return tx.Model(&Item{}).Where("1 = 1").Update("qty", 50).Error },
		"delete": func(tx *gorm.DB) error { return tx.Delete(&Item{}, "1 = 1").Error },
	}
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		for failure, config := range failures {
			t.Run(failure, func(t *testing.T) {
				config.Registry = new(reliable.Registry)
				reliable.AfterCommit(config.Registry, reliable.Callback[Item]{Name: "index", Run: nothing[Item]})
				db := testdb.New(t, d).Open(t)
				if err := errors.Join(db.AutoMigrate(&Item{}), db.Use(reliable.New(config)), migrations.Up(t.Context(), db),
					reliable.Skip(db).Create(&[]Item{{Code: "x", Qty: 1}, {Code: "y", Qty: 1}}).Error); err != nil {
					t.Fatal(err)
				}
				if failure == "outbox's table is missing" {
					if err := db.Exec("ALTER TABLE outbox_entries RENAME TO elsewhere").Error; err != nil {
						t.Fatal(err)
					}
				}
				for way, do := range ways {
					for name, write := range writes {
						var err error
						done := make(chan struct{})
						go func() {
							defer close(done)
							defer func() {
								if recover() != nil {
									err = errors.New("panicked")
								}
							}()
							err = errors.New("the goroutine ended")
							err = do(db.WithContext(t.Context()), write)
						}()
						<-done
						if err == nil && failure != "too many rows" { // that may be found out before the statement is sent
							t.Errorf("%s, %s: no error", way, name)
						}
						var n int64
						if err := db.Model(&Item{}).Where("qty = 1 AND code IN ('x', 'y')").Count(&n).Error; err != nil || n != 2 {
							t.Fatalf("%s, %s: %d rows are as before (%v), want 2", way, name, n, err)
						}
						if err := db.Model(&Item{}).Count(&n).Error; err != nil || n != 2 {
							t.Fatalf("%s, %s: %d rows (%v), want 2", way, name, n, err)
						}
					}
				}
			})
		}
	})
}

// A statement whose context ends just when the database has executed it is an
// error to the application, which ignores it and commits. The change has no
// entry, so it is not committed.
func TestContextEndsUnderTheStatement(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		db := shop(t, d)
		if err := reliable.Skip(db).Create(&Item{Code: "x", Qty: 1}).Error; err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		tx := db.Begin()
		late := tx.Session(&gorm.Session{Context: ctx})
		late.Statement.ConnPool = &interrupted{Tx: tx.Statement.ConnPool.(*sql.Tx), cancel: cancel}
		if err := late.Model(&Item{}).Where("1 = 1").Update("qty", 50).Error; !errors.Is(err, context.Canceled) {
			t.Fatalf("update: %v, want %v", err, context.Canceled)
		}
		if err := tx.Commit().Error; err == nil {
			t.Error("the commit went through")
		}
		var item Item
		if err := db.First(&item).Error; err != nil || item.Qty != 1 {
			t.Errorf("the row is %+v (%v), want it unchanged", item, err)
		}
	})
}

// interrupted executes the first UPDATE of an item, but tells that its context
// has ended.
type interrupted struct {
	*sql.Tx
	cancel context.CancelFunc
	done   bool
}

func (i *interrupted) hits(query string) bool {
	hit := !i.done && strings.HasPrefix(query, "UPDATE") && !strings.HasSuffix(query, "WHERE 0") // SQLite's lock
	i.done = i.done || hit
	return hit
}

// QueryContext implements [gorm.ConnPool].
func (i *interrupted) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	rows, err := i.Tx.QueryContext(context.WithoutCancel(ctx), query, args...)
	if err == nil && i.hits(query) {
		defer func() { _ = rows.Close() }()
		for rows.Next() {
		}
		i.cancel()
		return nil, errors.Join(rows.Err(), ctx.Err())
	}
	return rows, err
}

// ExecContext implements [gorm.ConnPool].
func (i *interrupted) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	r, err := i.Tx.ExecContext(context.WithoutCancel(ctx), query, args...)
	if err == nil && i.hits(query) {
		i.cancel()
		return nil, ctx.Err()
	}
	return r, err
}
