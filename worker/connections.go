package worker

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/own"
	"github.com/gorm-aftercommit/aftercommit/processors"
)

// OwnConnections is how many connections a worker keeps for itself at most:
// those of the processor, and one to LISTEN with on PostgreSQL.
const OwnConnections = processors.OwnSessions + 1

// connectTimeout bounds the look at how connections behave.
const connectTimeout = 10 * time.Second

// connections is where a worker has its own connections from.
type connections struct {
	pool   *sql.DB // nil is that of the application
	opened bool    // by the worker, which closes it
	pooled bool    // a pooler gives each transaction another session
}

// connect opens what the worker needs of its own, unless it is given.
func (w *Worker) connect(ctx context.Context) (*connections, error) {
	c := &connections{pool: w.Own}
	if w.DB.Name() == "sqlite" {
		return &connections{}, nil
	}
	if c.pool == nil {
		pool, err := own.Open(w.DB, false)
		if err != nil && !errors.Is(err, own.ErrShared) {
			return nil, fmt.Errorf("open connections of its own: %w", err)
		}
		c.pool, c.opened = pool, pool != nil
	}
	shared, err := w.DB.DB()
	if err != nil {
		return nil, err
	}
	least, hint := OwnConnections, "Own"
	if c.pool == nil {
		least, hint = OwnConnections+1, "DB's pool"
	}
	probed := c.pool
	if probed == nil {
		probed = shared
	}
	if most := probed.Stats().MaxOpenConnections; most > 0 && most < least {
		c.close()
		return nil, fmt.Errorf("%s has at most %d connections: the worker takes %d of them for itself: SetMaxOpenConns(%d) or more", hint, most, OwnConnections, least)
	}
	if w.DB.Name() != "postgres" {
		return c, nil
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if c.pooled, err = own.Pooled(ctx, probed); err != nil {
		c.close()
		return nil, fmt.Errorf("the database gives the worker no connection: %w", err)
	}
	if c.pooled && c.opened { // the next statement's session does not know what this one prepares
		c.close()
		if c.pool, err = own.Open(w.DB, true); err != nil {
			return nil, fmt.Errorf("open connections of its own: %w", err)
		}
	}
	return c, nil
}

// close closes what the worker opened.
func (c *connections) close() {
	if c.opened {
		_ = c.pool.Close()
	}
}

// separate reports whether a worker opens connections apart from db's pool.
func separate(db *gorm.DB) bool {
	pool, err := own.Open(db, false)
	if err != nil {
		return false
	}
	_ = pool.Close()
	return true
}
