package doctor

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/channel"
	ownpool "github.com/gorm-aftercommit/aftercommit/internal/own"
)

// errDriver says that a driver can't wait for notifications.
var errDriver = errors.New("the driver can't wait for notifications")

// listens has a notification sent as the plugin sends it, and waits for it as a
// worker does, on connections of its own.
func listens(x *examination, tx *gorm.DB) ([]Finding, error) {
	ctx := tx.Statement.Context
	pool, err := ownpool.Open(x.db, false)
	switch {
	case errors.Is(err, ownpool.ErrShared):
		if pool, err = x.db.DB(); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	default:
		defer func() { _ = pool.Close() }()
	}
	if x.pooled, err = ownpool.Pooled(ctx, pool); err != nil {
		return nil, err
	}
	if x.NoListen {
		return ok("workers are not to be notified: they poll"), nil
	}
	if x.pooled {
		return []Finding{{
			Level: Warning, Seen: "a pooler gives each transaction another session of the server: LISTEN does not work, and workers find what others commit by their poll",
			Do: "set Worker.Own to a pool that goes around it; if the poll is soon enough, set RELIABLE_LISTEN=off and leave it",
		}}, nil
	}
	err = notified(ctx, pool, x.tables.Entries())
	switch {
	case errors.Is(err, errDriver):
		return []Finding{{
			Level: Warning, Seen: "this program's driver can't wait for notifications: workers find what others commit by their poll",
			Do: "open the database with pgx (github.com/jackc/pgx/v5/stdlib), not wrapped, or set Worker.Own to such a pool; if the poll is soon enough, set RELIABLE_LISTEN=off and leave it",
		}}, nil
	case ctx.Err() != nil:
		return []Finding{{
			Level: Warning, Seen: fmt.Sprintf("a notification that was sent did not arrive within %s", x.Timeout),
			Do: "look at what is between this host and the database: a pooler or proxy that does not let notifications through; until then workers find what others commit by their poll",
		}}, nil
	case err != nil:
		return nil, err
	}
	return ok("a notification that was sent arrived"), nil
}

// notified listens on one connection and sends to it on another.
func notified(ctx context.Context, pool *sql.DB, entries string) error {
	conn, err := pool.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { // it never goes back to the pool
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
		_ = conn.Close()
	}()
	id := "doctor" + strings.ToLower(rand.Text()[:10])
	var name sql.NullString
	if err := conn.QueryRowContext(ctx, "SELECT "+channel.Name(entries)).Scan(&name); err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, `LISTEN "`+name.String+"_"+id+`"`); err != nil {
		return fmt.Errorf("LISTEN: %w", err)
	}
	if _, err := pool.ExecContext(ctx, channel.NotifyOne(entries, id)); err != nil {
		return fmt.Errorf("NOTIFY: %w", err)
	}
	return conn.Raw(func(conn any) error { return await(ctx, conn) })
}

// await waits for a notification on a connection of the driver pgx. It calls
// conn.Conn().WaitForNotification(ctx) by its name: no driver is imported here.
func await(ctx context.Context, conn any) error {
	inner := reflect.ValueOf(conn).MethodByName("Conn")
	if !inner.IsValid() || inner.Type().NumIn() != 0 || inner.Type().NumOut() != 1 {
		return errDriver
	}
	wait := inner.Call(nil)[0].MethodByName("WaitForNotification")
	if !wait.IsValid() || wait.Type().NumIn() != 1 || wait.Type().In(0) != reflect.TypeFor[context.Context]() || wait.Type().NumOut() != 2 {
		return errDriver
	}
	err, _ := wait.Call([]reflect.Value{reflect.ValueOf(ctx)})[1].Interface().(error)
	return err
}
