package reliable

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/channel"
)

const (
	notifyEvery   = 5 * time.Millisecond // at most
	notifyTimeout = 2 * time.Second      // of one, also to get a connection
	notifyTells   = time.Minute          // between two errors that are told
)

// notifier tells the workers of other processes that entries may be due, by
// NOTIFY on PostgreSQL. It does so behind the writers' backs: on another
// connection of their pool, once for all that committed in a few milliseconds.
// A notification inside their transactions would let only one of those commit
// at a time. It has a goroutine only while there is something to tell.
type notifier struct {
	monitor *Monitor
	pool    *sql.DB // nil: there is nobody to tell, or nothing to tell by
	text    string

	mu      sync.Mutex
	due     bool // since the last one that was sent
	running bool
	closed  bool
	idle    chan struct{} // closed when the goroutine ends
	told    time.Time     // when an error was
}

// open prepares the notifier for a database.
func (n *notifier) open(db *gorm.DB, p *Plugin) {
	if db.Name() != "postgres" || p.cfg.NoNotify {
		return
	}
	pool, err := db.DB()
	if err != nil {
		return // no pool: its transactions can't be told from connections
	}
	n.monitor, n.pool, n.text = p.cfg.Monitor, pool, channel.Notify(p.cfg.Tables.Entries())
}

// ping makes it tell, at once or in a few milliseconds. It waits for nothing.
func (n *notifier) ping() {
	if n.pool == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	n.due = true
	if !n.running {
		n.running, n.idle = true, make(chan struct{})
		time.AfterFunc(0, n.run)
	}
}

// run tells until there is nothing to tell.
func (n *notifier) run() {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		<-pause.C
		n.mu.Lock()
		if !n.due {
			n.running = false
			close(n.idle)
			n.mu.Unlock()
			return
		}
		n.due = false
		n.mu.Unlock()
		pause.Reset(notifyEvery)
		if err := n.send(); err != nil {
			n.trouble(err)
		}
	}
}

func (n *notifier) send() error {
	ctx, cancel := context.WithTimeout(context.Background(), notifyTimeout)
	defer cancel()
	_, err := n.pool.ExecContext(ctx, n.text)
	return err
}

// trouble tells the monitor of an error, unless it was told of another lately.
func (n *notifier) trouble(err error) {
	n.mu.Lock()
	due := n.told.IsZero() || time.Since(n.told) >= notifyTells
	if due {
		n.told = time.Now()
	}
	n.mu.Unlock()
	if due {
		n.monitor.Publish(&ErrorOccurred{Step: "notify", Err: fmt.Errorf("workers of other processes find entries by their poll: %w", err)})
	}
}

// close waits until what is due is told, or ctx is done. Nothing is told after.
func (n *notifier) close(ctx context.Context) error {
	n.mu.Lock()
	n.closed = true
	running, idle := n.running, n.idle
	n.mu.Unlock()
	if !running {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
