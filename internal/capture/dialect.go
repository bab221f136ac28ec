package capture

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"gorm.io/gorm"
)

// dialectOf returns how to capture on db, or an error that says what is
// supported. It asks the server for its version, if there is one.
func dialectOf(db *gorm.DB) (dialect, error) {
	name := db.Name()
	switch name {
	case "postgres":
		return new(postgres), nil
	case "mysql":
		version, err := version(db, "SELECT VERSION()")
		if err != nil || version == "" {
			return mariadb{}, err
		}
		if !strings.Contains(version, "MariaDB") {
			return nil, fmt.Errorf("reliable: MySQL is not supported yet: use MariaDB, PostgreSQL or SQLite")
		}
		// Old versions put a 5.5.5- in front, for replicas that did not expect a 10.
		return mariadb{}, atLeast("MariaDB", strings.TrimPrefix(version, "5.5.5-"), 10, 5)
	case "sqlite":
		version, err := version(db, "SELECT sqlite_version()")
		if err != nil || version == "" {
			return sqlite{}, err
		}
		return sqlite{}, atLeast("SQLite", version, 3, 35)
	default:
		return nil, fmt.Errorf("reliable: %s is not supported: use PostgreSQL, MariaDB or SQLite", name)
	}
}

// version asks the server; without one it returns nothing.
func version(db *gorm.DB, query string) (version string, err error) {
	if db.DryRun || db.ConnPool == nil {
		return "", nil
	}
	if err := Uncached(db.ConnPool).QueryRowContext(context.Background(), query).Scan(&version); err != nil {
		return "", fmt.Errorf("reliable: ask for the database's version: %w", err)
	}
	return version, nil
}

// atLeast returns an error if the version is below major.minor, the first
// release with RETURNING.
func atLeast(product, version string, major, minor int) error {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return fmt.Errorf("reliable: %s version %q: want numbers", product, version)
	}
	first, err := strconv.Atoi(parts[0])
	if err == nil && first == major {
		major = minor
		first, err = strconv.Atoi(parts[1])
	}
	if err != nil || first < major {
		return fmt.Errorf("reliable: %s %s is not supported: use %s %d.%d or later", product, version, product, major, minor)
	}
	return nil
}
