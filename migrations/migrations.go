// Package migrations makes the outbox's tables: plain SQL per database, kept
// in this package's folders, and goose to apply it.
//
// Up may be called by every process at every start: it waits for one that is
// at it, and does nothing when the tables are there.
package migrations

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"testing/fstest"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
	"github.com/pressly/goose/v3/lock"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

//go:embed postgres/*.sql mysql/*.sql sqlite/*.sql
var files embed.FS

// Up applies what is not applied yet. The tables' names are those of the
// plugin that is installed in db, or the defaults.
func Up(ctx context.Context, db *gorm.DB) error {
	p, err := provider(db)
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	for try := 1; err != nil && db.Name() != "postgres" && try < 5; try++ {
		// Goose looks at the versions before it locks, where DDL can't be part of a
		// transaction: another process may be half way.
		select {
		case <-time.After(50 * time.Millisecond):
			_, err = p.Up(ctx)
		case <-ctx.Done():
			try = 5
		}
	}
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	return nil
}

// Down takes everything back: the tables, and all that is in them.
func Down(ctx context.Context, db *gorm.DB) error {
	p, err := provider(db)
	if err != nil {
		return err
	}
	if _, err := p.DownTo(ctx, 0); err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	return nil
}

// Files returns the SQL of a dialect ("postgres", "mysql" for MariaDB,
// "sqlite") with the names of tables in it, for those who vendor migrations.
func Files(dialect string, tables reliable.Tables) (fs.FS, error) {
	if err := tables.Validate(); err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	entries, err := files.ReadDir(dialect)
	if err != nil {
		return nil, fmt.Errorf("migrations: dialect %q: want postgres, mysql or sqlite", dialect)
	}
	names := strings.NewReplacer(
		"{{entries}}", tables.Entries(), "{{claims}}", tables.Claims(), "{{workers}}", tables.Workers(),
		"{{history}}", tables.History(), "{{lanes}}", tables.Lanes(), "{{parked_keys}}", tables.ParkedKeys(),
		"{{pauses}}", tables.Pauses(), "{{key_locks}}", tables.KeyLocks(), "{{duties}}", tables.Duties(), "{{name}}", tables.Prefix+"outbox",
	)
	rendered := make(fstest.MapFS)
	for _, entry := range entries {
		text, err := files.ReadFile(path.Join(dialect, entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("migrations: %w", err)
		}
		rendered[entry.Name()] = &fstest.MapFile{Data: []byte(names.Replace(string(text)))}
	}
	return rendered, nil
}

// provider returns goose for db's dialect, pool and tables.
func provider(db *gorm.DB) (*goose.Provider, error) {
	var tables reliable.Tables
	if p, err := reliable.From(db); err == nil {
		tables = p.Tables()
	}
	dialect, ok := map[string]goose.Dialect{
		"postgres": goose.DialectPostgres, "mysql": goose.DialectMySQL, "sqlite": goose.DialectSQLite3,
	}[db.Name()]
	if !ok {
		return nil, fmt.Errorf("migrations: %s is not supported: want PostgreSQL, MariaDB or SQLite", db.Name())
	}
	sql, err := Files(db.Name(), tables)
	if err != nil {
		return nil, err
	}
	store, err := database.NewStore(dialect, tables.Migrations())
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	options := []goose.ProviderOption{goose.WithStore(store), goose.WithDisableGlobalRegistry(true)}
	var locker lock.SessionLocker
	switch db.Name() {
	case "postgres":
		if locker, err = lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300)); err != nil {
			return nil, fmt.Errorf("migrations: %w", err)
		}
	case "mysql":
		locker = mariaLock{}
	}
	if locker != nil {
		options = append(options, goose.WithSessionLocker(locker))
	}
	pool, err := db.DB()
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	p, err := goose.NewProvider("", pool, sql, options...)
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	return p, nil
}
