package worker

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/channel"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

const (
	listenTimeout = 5 * time.Second        // of every step but to wait for a notification
	testEvery     = 10 * time.Second       // without a notification
	firstRetry    = 250 * time.Millisecond // after LISTEN failed, then twice as long each time
	lastRetry     = 30 * time.Second
	wakeEvery     = 5 * time.Millisecond // at most, however many write
)

// Why a worker does not listen, for good.
var (
	errPooled = errors.New("LISTEN does not work behind a pooler that gives each transaction another session: the worker polls; set Own to a pool that goes around it, or NoListen")
	errDriver = errors.New("LISTEN needs the driver pgx (github.com/jackc/pgx/v5/stdlib), not wrapped: the worker polls; set Own to a pool of that driver, or NoListen")
)

// listener wakes the claimer when another process has committed entries, as
// PostgreSQL notifies it, on a connection of its own. All it does is to save
// time: whatever it misses, the poll finds.
type listener struct {
	worker  string
	pool    *sql.DB
	entries string
	publish func(reliable.Event)
	heard   chan struct{}

	since time.Time // when it began to fail; zero while it listens
	woken time.Time
	late  *time.Timer // for a wake that was too early
}

// listen begins to listen. It returns what gets a value when there may be work;
// stop ends it and waits for its end.
func (s *shift) listen(ctx context.Context) (heard <-chan struct{}, stop func()) {
	if s.DB.Name() != "postgres" || s.NoListen || s.own == nil {
		return nil, func() {}
	}
	l := &listener{
		worker: s.id, pool: s.own.pool, entries: s.plugin.Tables().Entries(), heard: make(chan struct{}, 1),
		publish: s.plugin.Monitor().Publish,
	}
	if l.pool == nil {
		l.pool, _ = s.DB.DB() // it had one a moment ago
	}
	if s.own.pooled {
		l.degraded(errPooled)
		return nil, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); l.run(ctx) }()
	return l.heard, func() { cancel(); <-ended }
}

// run listens until ctx is done. When that fails, it tells, and tries again.
func (l *listener) run(ctx context.Context) {
	l.late = time.AfterFunc(time.Hour, l.wake)
	defer l.late.Stop()
	failures := 0
	for {
		err := l.listen(ctx, func() { failures = 0 })
		if ctx.Err() != nil {
			return
		}
		l.degraded(err)
		if errors.Is(err, errDriver) {
			return
		}
		delay := min(firstRetry<<min(failures, 10), lastRetry)
		failures++
		pause(ctx, nil, nil, nil, delay/2+rand.N(delay/2)) // a database that comes back is not stormed
	}
}

// listen listens on one connection until that fails.
func (l *listener) listen(ctx context.Context, up func()) error {
	conn, err := bound(ctx, l.pool.Conn)
	if err != nil {
		return err
	}
	defer func() { // it never goes back to the pool
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
		_ = conn.Close()
	}()
	own, err := l.subscribe(ctx, conn)
	if err != nil {
		return err
	}
	for tested := false; ; {
		if !tested {
			if err := l.test(ctx, conn, own); err != nil {
				return err
			}
			tested = true
			up()
			l.restored()
			l.wake() // what was committed meanwhile
		}
		name, err := l.await(ctx, conn, testEvery-testEvery/10+rand.N(testEvery/5))
		switch {
		case err == nil && name != own:
			l.hear()
		case err != nil && (ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded)):
			return err
		case err != nil:
			tested = false // it was quiet: or is the connection broken?
		}
	}
}

// subscribe listens for what wakes everybody, and for tests of this worker's
// own, whose channel it returns.
func (l *listener) subscribe(ctx context.Context, conn *sql.Conn) (own string, err error) {
	var all sql.NullString
	return bound(ctx, func(ctx context.Context) (string, error) {
		if err := conn.QueryRowContext(ctx, "SELECT "+channel.Name(l.entries)).Scan(&all); err != nil {
			return "", err
		}
		if !all.Valid {
			return "", fmt.Errorf("table %s is missing", l.entries)
		}
		own := all.String + "_" + l.worker
		_, err := conn.ExecContext(ctx, `LISTEN "`+all.String+`"; LISTEN "`+own+`"`)
		return own, err
	})
}

// test has a notification sent on another connection, as other processes send
// them, and waits for it.
func (l *listener) test(ctx context.Context, conn *sql.Conn, own string) error {
	_, err := bound(ctx, func(ctx context.Context) (sql.Result, error) {
		return l.pool.ExecContext(ctx, channel.NotifyOne(l.entries, l.worker))
	})
	if err != nil {
		return fmt.Errorf("NOTIFY: %w", err)
	}
	deadline := time.Now().Add(listenTimeout)
	for {
		name, err := l.await(ctx, conn, time.Until(deadline))
		switch {
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			return errors.New("a notification that was sent did not arrive")
		case err != nil:
			return err
		case name == own:
			return nil
		}
		l.hear()
	}
}

// await waits for a notification and returns the name of its channel.
func (l *listener) await(ctx context.Context, conn *sql.Conn, limit time.Duration) (name string, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err = conn.Raw(func(conn any) (err error) {
		name, err = notification(ctx, conn)
		return err
	})
	return name, err
}

// notification waits for a notification on a connection of the driver pgx. It
// calls conn.Conn().WaitForNotification(ctx) by its name: this package imports
// no driver.
func notification(ctx context.Context, conn any) (name string, err error) {
	inner := reflect.ValueOf(conn).MethodByName("Conn")
	if !inner.IsValid() || inner.Type().NumIn() != 0 || inner.Type().NumOut() != 1 {
		return "", errDriver
	}
	wait := inner.Call(nil)[0].MethodByName("WaitForNotification")
	if !wait.IsValid() || wait.Type().NumIn() != 1 || wait.Type().In(0) != reflect.TypeFor[context.Context]() || wait.Type().NumOut() != 2 {
		return "", errDriver
	}
	results := wait.Call([]reflect.Value{reflect.ValueOf(ctx)})
	if err, ok := results[1].Interface().(error); ok {
		return "", err
	}
	if got := reflect.Indirect(results[0]); got.Kind() == reflect.Struct {
		if field := got.FieldByName("Channel"); field.IsValid() {
			return field.String(), nil
		}
	}
	return "", errDriver
}

// bound bounds a step.
func bound[T any](ctx context.Context, step func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, listenTimeout)
	defer cancel()
	return step(ctx)
}

// hear wakes the claimer, now or in a moment.
func (l *listener) hear() {
	if wait := wakeEvery - time.Since(l.woken); wait > 0 {
		l.late.Reset(wait)
		return
	}
	l.woken = time.Now()
	l.wake()
}

func (l *listener) wake() {
	select {
	case l.heard <- struct{}{}:
	default:
	}
}

// degraded tells that the worker is not woken, if it was until now.
func (l *listener) degraded(err error) {
	if l.since.IsZero() {
		l.since = time.Now()
		l.publish(&reliable.WakeupDegraded{Worker: l.worker, Err: err})
	}
}

// restored tells that it is woken again, if it was not.
func (l *listener) restored() {
	if !l.since.IsZero() {
		l.publish(&reliable.WakeupRestored{Worker: l.worker, After: time.Since(l.since)})
		l.since = time.Time{}
	}
}
