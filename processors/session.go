package processors

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

const (
	statementTimeout = 10 * time.Second // of every transaction of a worker's own
	closeTimeout     = 2 * time.Second  // for connections that are closed in the background, at the end
	tries            = 5                // of a transaction, at once
)

// session is a connection of the worker's own: pinned and set up, so that
// callbacks can neither use it up nor change it. SQLite needs none.
type session struct {
	pool    *sql.DB
	pin     bool
	setup   string          // settings of the connection,
	local   string          // or of each transaction, where connections are shared; "" is none
	deaf    bool            // the driver ends transactions without heeding a context
	timeout time.Duration   // of one try, twice as long if it has to connect; 0 is statementTimeout
	closing *sync.WaitGroup // of connections that are given up
	conn    *sql.Conn
	beat    func() // called before each transaction; nil is nothing
}

// alive is how long after the begin of a transaction its loop has not shown
// itself only if it is stuck: all tries of it end sooner.
const alive = time.Minute

// inTx runs f in a short READ COMMITTED transaction. What a deadlock or a busy
// database broke off is run again; a broken connection is replaced.
func (s *session) inTx(ctx context.Context, f func(ctx context.Context, tx *sql.Tx) error) error {
	return s.again(ctx, func(ctx context.Context) error { return s.once(ctx, f) })
}

// one runs f, a single statement on a pinned connection, like inTx does: it is
// a transaction of its own, without the round trips of BEGIN and COMMIT.
func (s *session) one(ctx context.Context, f func(ctx context.Context, conn *sql.Conn) error) error {
	return s.again(ctx, func(ctx context.Context) error {
		if s.local != "" { // settings are worth the round trips
			return s.once(ctx, func(ctx context.Context, _ *sql.Tx) error { return f(ctx, s.conn) })
		}
		if err := s.connect(ctx); err != nil {
			return err
		}
		err := f(ctx, s.conn)
		if err != nil && !errors.Is(err, reliable.ErrLeaseLost) {
			s.drop() // in an unknown state
		}
		return err
	})
}

// again runs a transaction until it succeeds or fails for good. One whose
// connection broke, or did not answer in time, is run again on a new one, if
// there is time; if that breaks too, it is the caller who tries later.
func (s *session) again(ctx context.Context, transaction func(ctx context.Context) error) error {
	if s.beat != nil {
		s.beat()
	}
	begun := time.Now()
	for attempt := 1; ; attempt++ {
		fresh := s.conn == nil
		err := s.bounded(ctx, fresh, transaction)
		if err == nil || attempt == tries || ctx.Err() != nil || time.Since(begun) >= statementTimeout {
			return err
		}
		if what := remedyFor(err); what == giveUp || what == reconnect && fresh {
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

func (s *session) bounded(ctx context.Context, fresh bool, transaction func(ctx context.Context) error) error {
	limit := cmp.Or(s.timeout, statementTimeout)
	if fresh {
		limit = min(2*limit, statementTimeout)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return transaction(ctx)
}

func (s *session) once(ctx context.Context, f func(ctx context.Context, tx *sql.Tx) error) error {
	if !s.pin {
		tx, err := s.pool.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		if err := f(ctx, tx); err != nil {
			_ = tx.Rollback() // database/sql has the connection, whatever becomes of it
			return err
		}
		return tx.Commit()
	}
	if err := s.connect(ctx); err != nil {
		return err
	}
	options := &sql.TxOptions{Isolation: sql.LevelReadCommitted}
	if s.deaf { // the driver sets it by a statement of its own: setup did, once
		options = nil
	}
	tx, err := s.conn.BeginTx(ctx, options)
	if err != nil {
		s.drop()
		return err
	}
	if s.local != "" {
		_, err = tx.ExecContext(ctx, s.local)
	}
	if err == nil {
		err = f(ctx, tx)
	}
	if err != nil {
		if rollback := s.end(ctx, tx.Rollback); rollback != nil || remedyFor(err) == reconnect {
			s.drop() // in an unknown state, or of no use
		}
		return err
	}
	if err := s.end(ctx, tx.Commit); err != nil {
		s.drop()
		return err
	}
	return nil
}

// end ends a transaction. If the driver waits for an answer with no deadline,
// it is left behind, and ends when the connection does.
func (s *session) end(ctx context.Context, end func() error) error {
	if !s.deaf {
		return end()
	}
	ended := make(chan error, 1)
	go func() { ended <- end() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
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
	if s.setup == "" {
		return nil
	}
	if _, err = conn.ExecContext(ctx, s.setup); err != nil {
		s.drop()
	}
	return err
}

// drop gives up the pinned connection; with its settings it never goes back to
// the pool. Nobody waits for its end: a server that does not answer takes its
// time.
func (s *session) drop() {
	conn := s.conn
	if conn == nil {
		return
	}
	s.conn = nil
	s.closing.Go(func() {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
		_ = conn.Close()
	})
}

// close ends the session.
func (s *session) close() {
	s.drop()
	if s.closing == nil {
		return
	}
	closed := make(chan struct{})
	go func() { s.closing.Wait(); close(closed) }()
	timer := time.NewTimer(closeTimeout)
	defer timer.Stop()
	select {
	case <-closed:
	case <-timer.C:
	}
}
