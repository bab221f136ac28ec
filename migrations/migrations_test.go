package migrations_test

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"testing"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// tables returns the tables of a database, but for SQLite's own.
func tables(t *testing.T, db *gorm.DB) []string {
	t.Helper()
	query := map[string]string{
		"postgres": "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1",
		"mysql":    "SELECT table_name FROM information_schema.tables WHERE table_schema = database() ORDER BY 1",
		"sqlite":   "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY 1",
	}[db.Name()]
	var names []string
	if err := db.Raw(query).Scan(&names).Error; err != nil {
		t.Fatal(err)
	}
	return names
}

// Up makes the tables, however many processes call it; Down takes all of them
// back.
func TestUpAndDown(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		url := testdb.New(t, d)
		var group sync.WaitGroup
		errs := make([]error, 4)
		for i := range errs {
			db := url.Open(t)
			group.Go(func() { errs[i] = migrations.Up(t.Context(), db) })
		}
		group.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		db := url.Open(t)
		if got := strings.Join(tables(t, db), " "); !strings.Contains(got, "outbox_entries") || !strings.Contains(got, "outbox_history") {
			t.Errorf("after Up there are the tables %s", got)
		}
		if err := errors.Join(migrations.Down(t.Context(), db), migrations.Up(t.Context(), db), migrations.Down(t.Context(), db)); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(tables(t, db), " "); got != "outbox_migrations" {
			t.Errorf("after Down there are the tables %s, want that of the versions alone", got)
		}
	})
}

// With a prefix, two outboxes stand side by side.
func TestPrefix(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		url := testdb.New(t, d)
		plain, other := url.Open(t), url.Open(t)
		if err := other.Use(reliable.New(reliable.Config{Registry: new(reliable.Registry), Tables: reliable.Tables{Prefix: "billing_"}})); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(migrations.Up(t.Context(), plain), migrations.Up(t.Context(), other)); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(tables(t, plain), " ")
		for _, name := range []string{"outbox_entries", "billing_outbox_entries"} {
			if !strings.Contains(" "+got+" ", " "+name+" ") {
				t.Errorf("there are the tables %s, want %s among them", got, name)
			}
		}
	})
}

func TestFiles(t *testing.T) {
	for _, dialect := range []string{"postgres", "mysql", "sqlite"} {
		files, err := migrations.Files(dialect, reliable.Tables{Prefix: "x_"})
		if err != nil {
			t.Fatal(err)
		}
		text, err := fs.ReadFile(files, "0001_outbox.sql")
		if err != nil || strings.Contains(string(text), "{{") || !strings.Contains(string(text), "x_outbox_entries") {
			t.Errorf("%s: %v; want SQL with the names in it, got %.200s", dialect, err, text)
		}
	}
	if _, err := migrations.Files("oracle", reliable.Tables{}); err == nil || !strings.Contains(err.Error(), "sqlite") {
		t.Errorf("Files(oracle) = %v, want an error that names what there is", err)
	}
}

func TestUpIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := migrations.Up(ctx, testdb.New(t, testdb.SQLite).Open(t)); err == nil {
		t.Error("Up() = nil after its context was cancelled")
	}
}
