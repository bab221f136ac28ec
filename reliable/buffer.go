package reliable

import (
	"context"
	"reflect"
	"sync"
	"sync/atomic"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/capture"
	"github.com/gorm-aftercommit/aftercommit/internal/sqltext"
)

// What a buffer holds at most: beyond it, entries are written early.
const (
	bufferRows  = 5000
	bufferBytes = 16 << 20
)

// buffers are the buffers of the transactions that [Transaction] has begun.
type buffers struct {
	live atomic.Int64
	by   sync.Map // *buffer by gorm.ConnPool
}

// buffer holds the entries of a transaction that are not written yet, in
// order.
type buffer struct {
	tx *gorm.DB // past the user's statement cache

	mu         sync.Mutex
	plugin     *Plugin
	rows       []row
	bytes      int
	wake       bool            // the workers are to be woken at the commit
	savepoints map[string]bool // set while nothing waited
	failed     error           // why the plugin rolled the transaction back
}

// open makes the buffer of a transaction. Transactions that can't be told
// apart have none.
func (l *buffers) open(p *Plugin, tx *gorm.DB) *buffer {
	session := tx.Session(&gorm.Session{NewDB: true, Context: tx.Statement.Context}) // Context: a statement of its own
	session.Statement.ConnPool = capture.Uncached(tx.Statement.ConnPool)
	b := &buffer{plugin: p, tx: session, savepoints: make(map[string]bool)}
	if reflect.TypeOf(session.Statement.ConnPool).Comparable() {
		l.by.Store(session.Statement.ConnPool, b)
		l.live.Add(1)
	}
	return b
}

func (l *buffers) close(b *buffer) {
	if _, ok := l.by.LoadAndDelete(b.tx.Statement.ConnPool); ok {
		l.live.Add(-1)
	}
}

// of returns the buffer of the transaction that pool is, nil if it has none.
func (l *buffers) of(pool gorm.ConnPool) *buffer {
	if l.live.Load() == 0 || pool == nil {
		return nil
	}
	pool = capture.Uncached(pool)
	if !reflect.TypeOf(pool).Comparable() {
		return nil
	}
	b, _ := l.by.Load(pool)
	found, _ := b.(*buffer)
	return found
}

// add takes entries.
func (b *buffer) add(ctx context.Context, rows []row) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rows = append(b.rows, rows...)
	for i := range rows {
		b.bytes += len(rows[i].changeset)
	}
	if len(b.rows) < bufferRows && b.bytes < bufferBytes {
		return nil
	}
	return b.write(ctx)
}

// before is called before raw SQL is sent: it finds all entries written, but
// for a rollback to a savepoint that was set while nothing waited. Those that
// wait then are younger than it; they could not be written either, after an
// error on PostgreSQL.
func (b *buffer) before(ctx context.Context, query string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.savepoints[sqltext.RollbackTo(query)] {
		return nil
	}
	err := b.write(ctx)
	if name := sqltext.Savepoint(query); name != "" && err == nil {
		b.savepoints[name] = true
	}
	return err
}

// after is called after raw SQL: what waited at a rollback to a savepoint went
// with its changes. If the rollback failed, the changes are still there.
func (b *buffer) after(query string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil && b.savepoints[sqltext.RollbackTo(query)] {
		b.rows, b.bytes = nil, 0
	}
}

// flush writes what waits.
func (b *buffer) flush(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.write(ctx)
}

// write writes what waits. After an error, what was written waits no more.
func (b *buffer) write(ctx context.Context) error {
	if len(b.rows) == 0 {
		return nil
	}
	n, traced, err := b.plugin.write(ctx, b.tx, b.rows)
	b.wake = b.wake || n > 0 && !traced
	b.rows, b.bytes = b.rows[n:], 0
	return err
}

// wakes notes that the workers are to be woken at the commit.
func (b *buffer) wakes() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wake = true
}

// committed wakes the workers, unless a tracer does.
func (b *buffer) committed() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.wake {
		b.plugin.wakes.now()
	}
}

// fail drops what waits: the transaction is rolled back.
func (b *buffer) fail(cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rows, b.bytes, b.failed = nil, 0, cause
}

// conclude prepares the COMMIT, if result, the function's, is nil. It returns
// why the transaction must be rolled back.
func (b *buffer) conclude(ctx context.Context, result error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case result != nil:
		return result
	case b.failed != nil:
		return b.failed
	default:
		return b.write(ctx)
	}
}
