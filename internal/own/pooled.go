package own

import (
	"context"
	"database/sql"
)

// Pooled reports whether connections of PostgreSQL share sessions of the
// server: a pooler, such as PgBouncer in transaction mode, gives each
// transaction the session that is free. What a session keeps is lost then:
// LISTEN, SET, prepared statements. It needs two connections for a moment.
func Pooled(ctx context.Context, pool *sql.DB) (pooled bool, err error) {
	var sessions [2]struct {
		conn *sql.Conn
		pid  int
	}
	for i := range sessions {
		if sessions[i].conn, err = pool.Conn(ctx); err != nil {
			return false, err
		}
		defer func() { _ = sessions[i].conn.Close() }()
	}
	// A pooler that hands out its last session shows one to both; one that
	// takes turns shows another to the one that asks twice.
	for _, i := range []int{0, 1, 1, 0, 0, 1} {
		var pid int
		if err := sessions[i].conn.QueryRowContext(ctx, "SELECT pg_backend_pid()").Scan(&pid); err != nil {
			return false, err
		}
		if before := sessions[i].pid; before != 0 && before != pid || sessions[1-i].pid == pid {
			return true, nil
		}
		sessions[i].pid = pid
	}
	return false, nil
}
