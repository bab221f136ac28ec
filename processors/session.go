package processors

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// statementTimeout bounds every transaction of a worker's own.
const statementTimeout = 10 * time.Second

// session is a connection of the worker's own: pinned and set up, so that
// callbacks can neither use it up nor change it. SQLite needs none.
type session struct {
	pool  *sql.DB
	pin   bool
	setup []string
	conn  *sql.Conn
}

// inTx runs f in a short READ COMMITTED transaction. What a deadlock or a busy
// database broke off is run again; a broken connection is replaced.
func (s *session) inTx(ctx context.Context, f func(ctx context.Context, tx *sql.Tx) error) error {
	return again(ctx, func(ctx context.Context) error { return s.once(ctx, f) })
}

// one runs f, a single statement on a pinned connection, like inTx does: it is
// a transaction of its own, without the round trips of BEGIN and COMMIT.
func (s *session) one(ctx context.Context, f func(ctx context.Context, conn *sql.Conn) error) error {
	return again(ctx, func(ctx context.Context) error {
		if err := s.connect(ctx); err != nil {
			return err
		}
		err := f(ctx, s.conn)
		if err != nil && !errors.Is(err, reliable.ErrLeaseLost) {
			s.close() // in an unknown state
		}
		return err
	})
}

// again runs a transaction until it succeeds or fails for good.
func again(ctx context.Context, transaction func(ctx context.Context) error) error {
	for attempt := 1; ; attempt++ {
		err := bounded(ctx, transaction)
		if err == nil || attempt == 5 || ctx.Err() != nil || !transient(err) {
			return err
		}
		pause := time.NewTimer(rand.N(time.Duration(attempt) * 20 * time.Millisecond))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return err
		}
	}
}

func bounded(ctx context.Context, transaction func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	return transaction(ctx)
}

func (s *session) once(ctx context.Context, f func(ctx context.Context, tx *sql.Tx) error) (err error) {
	begin := s.pool.BeginTx
	options := &sql.TxOptions{Isolation: sql.LevelReadCommitted}
	if s.pin {
		if err := s.connect(ctx); err != nil {
			return err
		}
		begin = s.conn.BeginTx
	} else {
		options = nil
	}
	tx, err := begin(ctx, options)
	if err != nil {
		s.close()
		return err
	}
	if err := f(ctx, tx); err != nil {
		if rollback := tx.Rollback(); rollback != nil {
			s.close() // in an unknown state
		}
		return err
	}
	if err := tx.Commit(); err != nil {
		s.close()
		return err
	}
	return nil
}

// connect pins a connection, unless one is pinned.
func (s *session) connect(ctx context.Context) error {
	if s.conn != nil {
		return nil
	}
	conn, err := s.pool.Conn(ctx)
	if err != nil {
		return err
	}
	s.conn = conn
	for _, statement := range s.setup {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			s.close()
			return err
		}
	}
	return nil
}

// close ends the pinned connection; with its settings it never goes back to
// the pool.
func (s *session) close() {
	if s.conn == nil {
		return
	}
	_ = s.conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = s.conn.Close()
	s.conn = nil
}

// transient reports whether a transaction that failed with err may succeed
// when it is run again.
func transient(err error) bool {
	if errors.Is(err, sql.ErrConnDone) {
		return true
	}
	text := err.Error()
	for _, sign := range []string{"40001", "40P01", "Error 1213", "Error 1205", "SQLITE_BUSY", "database is locked", "bad connection"} {
		if strings.Contains(text, sign) {
			return true
		}
	}
	return false
}
