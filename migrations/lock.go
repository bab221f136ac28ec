package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// mariaLock lets one process at a time migrate a MariaDB database. It is a lock
// of the connection's, by name, so that it ends with a process that dies.
type mariaLock struct{}

// lockWait is how long a process waits for another one's migration, in seconds.
const lockWait = 300

// SessionLock implements goose's lock.SessionLocker.
func (mariaLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
	var got sql.NullInt64
	if err := conn.QueryRowContext(ctx, "SELECT GET_LOCK(concat('reliable.', database()), ?)", lockWait).Scan(&got); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	if got.Int64 != 1 {
		return fmt.Errorf("lock: another process has migrated for %d s", lockWait)
	}
	return nil
}

// SessionUnlock implements goose's lock.SessionLocker.
func (mariaLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	var released sql.NullInt64
	if err := conn.QueryRowContext(ctx, "SELECT RELEASE_LOCK(concat('reliable.', database()))").Scan(&released); err != nil {
		return fmt.Errorf("unlock: %w", err)
	}
	if released.Int64 != 1 {
		return errors.New("unlock: the lock was lost")
	}
	return nil
}
