package main

import (
	"context"
	"fmt"
	"runtime"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// usage is what this process took.
type usage struct {
	allocs uint64
	heap   uint64 // bytes of those allocations
	cpu    time.Duration
}

// used returns what this process took so far.
func used() (u usage, err error) {
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return u, fmt.Errorf("getrusage: %w", err)
	}
	return usage{memory.Mallocs, memory.TotalAlloc, time.Duration(r.Utime.Nano() + r.Stime.Nano())}, nil
}

// since returns what was taken since before.
func (u usage) since(before usage) usage {
	return usage{u.allocs - before.allocs, u.heap - before.heap, u.cpu - before.cpu}
}

// per returns what each of n entries took.
func (u usage) per(n float64) string {
	return fmt.Sprintf("%8.1f %8.0f %8.1f", float64(u.allocs)/n, float64(u.heap)/n, float64(u.cpu.Microseconds())/n)
}

const usageColumns = "  allocs   heap B   CPU us"

// cost is what a drain took.
type cost struct {
	usage
	entries int
	took    time.Duration
	wal     int64 // bytes that the server wrote; of all its databases
	dead    int64 // row versions that died: what VACUUM has to remove
}

func (c cost) rate() float64 { return float64(c.entries) / c.took.Seconds() }

// String returns the cost of an entry.
func (c cost) String() string {
	n := float64(c.entries)
	return fmt.Sprintf("%9.0f %8.0f %8.2f %s", c.rate(), float64(c.wal)/n, float64(c.dead)/n, c.per(n))
}

const costColumns = "entries/s    WAL B     dead " + usageColumns

// meter reads what a cost is made of.
type meter struct {
	place
	conn *pgx.Conn
	cost // what the counters showed in the beginning
	at   time.Time
}

// begin starts the clock.
func (p place) begin(ctx context.Context) (*meter, error) {
	conn, err := pgx.Connect(ctx, p.bench.url)
	if err != nil {
		return nil, err
	}
	m := &meter{place: p, conn: conn}
	if m.cost, err = m.read(ctx); err != nil {
		_ = conn.Close(ctx)
		return nil, err
	}
	m.at = time.Now()
	return m, nil
}

// end stops the clock at the time at which the last entry was durable. Once
// closed has closed the side's connections, so that the server knows what they
// did, it returns the cost.
func (m *meter) end(ctx context.Context, entries int, at time.Time, closed func() error) (cost, error) {
	now, err := m.read(ctx)
	if err != nil {
		return cost{}, err
	}
	if err := closed(); err != nil {
		return cost{}, err
	}
	if _, err := m.until(ctx, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = '"+m.schema+"')"); err != nil {
		return cost{}, err
	}
	dead, err := m.deaths(ctx)
	if err != nil {
		return cost{}, err
	}
	return cost{
		entries: entries, took: at.Sub(m.at), wal: now.wal - m.wal, dead: dead - m.dead,
		usage: now.since(m.usage),
	}, nil
}

func (m *meter) close(ctx context.Context) { _ = m.conn.Close(ctx) }

func (m *meter) read(ctx context.Context) (c cost, err error) {
	if c.dead, err = m.deaths(ctx); err != nil {
		return c, err
	}
	if err := m.conn.QueryRow(ctx, "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").Scan(&c.wal); err != nil {
		return c, err
	}
	c.usage, err = used()
	return c, err
}

// deaths returns how many row versions of the schema's tables were replaced or
// deleted so far, with what the tables keep out of line. Unlike n_dead_tup, it
// does not shrink when autovacuum comes by.
func (m *meter) deaths(ctx context.Context) (n int64, err error) {
	err = m.conn.QueryRow(ctx, `SELECT coalesce(sum(s.n_tup_upd + s.n_tup_del), 0)::bigint FROM pg_stat_all_tables s
		WHERE s.relid IN (SELECT unnest(ARRAY[oid, reltoastrelid]) FROM pg_class WHERE relnamespace = $1::regnamespace)`, m.schema).Scan(&n)
	return n, err
}
