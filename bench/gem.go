package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
)

// What the gem's ordered processor does unless it is told otherwise.
const (
	gemBatch = 100              // entries of a key under one lock
	gemKeys  = 10_000           // keys of a round
	gemLock  = 10 * time.Second // how long a lock lives that nobody gives back
)

// What of the gem's entries is due.
const gemDue = "processed_at IS NULL AND (retry_at IS NULL OR retry_at <= $1)"

// unlock gives back a lock, if it is still the one that was taken.
func unlock() *redis.Script {
	return redis.NewScript("if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end")
}

// gem drains a backlog by the algorithm of the gem's ordered processor: the
// keys of what is due, a Redis lock for each, a batch of its entries, an update
// that marks them. It does without what slows the gem down besides that: Ruby,
// ActiveRecord, the load of the model, and the pause between two rounds.
func (b *bench) gem(ctx context.Context, keys []string, threads int) (c cost, err error) {
	address, err := redis.ParseURL(cmp.Or(os.Getenv("REDIS_URL"), "redis://127.0.0.1:6379/0"))
	if err != nil {
		return c, fmt.Errorf("REDIS_URL (example: redis://:pass@host:6379/0): %w", err)
	}
	client := redis.NewClient(address)
	defer func() { err = errors.Join(err, client.Close()) }()
	if err := client.Ping(ctx).Err(); err != nil {
		return c, fmt.Errorf("no Redis: set REDIS_URL (example: redis://:pass@host:6379/0): %w", err)
	}
	err = b.in(ctx, func(p place) error {
		if err := p.seedGem(ctx, keys); err != nil {
			return err
		}
		runners := make([]*gemRunner, threads)
		for i := range runners {
			conn, err := pgx.Connect(ctx, p.url)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close(ctx) }()
			runners[i] = &gemRunner{
				conn: conn, redis: client, unlock: unlock(), prefix: p.schema + ":RailsTransactionalOutbox-",
				share: float64(i) / float64(threads), ran: make([]uint8, len(keys)),
			}
		}
		m, err := p.begin(ctx)
		if err != nil {
			return err
		}
		defer m.close(ctx)
		var running sync.WaitGroup
		errs := make([]error, threads)
		for i, one := range runners {
			running.Go(func() { errs[i] = one.run(ctx) })
		}
		running.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
		at, err := p.until(ctx, fmt.Sprintf("SELECT NOT EXISTS (SELECT FROM %s.gem_entries WHERE processed_at IS NULL)", p.schema))
		if err != nil {
			return err
		}
		c, err = m.end(ctx, len(keys), at, func() (err error) {
			for _, one := range runners {
				err = errors.Join(err, one.conn.Close(ctx))
			}
			return err
		})
		return errors.Join(err, ranOnce(runners))
	})
	return c, err
}

// seedGem makes the table of the gem's README, with an entry for each key. The
// indexes are made last, which leaves them as small as they can be.
func (p place) seedGem(ctx context.Context, keys []string) error {
	table := p.schema + ".gem_entries"
	err := p.exec(ctx, "CREATE TABLE "+table+` (
		id bigserial PRIMARY KEY, resource_class varchar, resource_id varchar, event_name varchar NOT NULL, context varchar NOT NULL,
		processed_at timestamp(6), arguments text NOT NULL DEFAULT '{}', changeset text NOT NULL DEFAULT '{}', causality_key varchar,
		failed_at timestamp(6), retry_at timestamp(6), error_class varchar, error_message varchar, attempts integer NOT NULL DEFAULT 0,
		created_at timestamp(6) NOT NULL, updated_at timestamp(6) NOT NULL)`)
	if err != nil {
		return err
	}
	begun := time.Now().UTC()
	columns := []string{"resource_class", "resource_id", "event_name", "context", "changeset", "causality_key", "created_at", "updated_at"}
	err = p.load(ctx, "gem_entries", columns, len(keys), func(i int) []any {
		at := begun.Add(time.Duration(i) * time.Microsecond)
		return []any{"Order", fmt.Sprint(i + 1), "order_created", "active_record", payload, keys[i], at, at}
	})
	if err != nil {
		return err
	}
	var indexes []string
	for _, columns := range []string{
		"(resource_class, event_name)", "(resource_class, resource_id)", "(context)", "(created_at)", "(created_at) WHERE processed_at IS NULL",
		"(causality_key, created_at) WHERE processed_at IS NULL", "(resource_class, created_at)", "(resource_class, processed_at)",
	} {
		indexes = append(indexes, "CREATE INDEX ON "+table+" "+columns)
	}
	return errors.Join(p.exec(ctx, indexes...), p.settle(ctx, table))
}

// gemRunner is one thread.
type gemRunner struct {
	conn   *pgx.Conn
	redis  *redis.Client
	unlock *redis.Script
	prefix string  // of the locks' names
	share  float64 // of the keys, after which it begins: so that threads get in each other's way as late as can be
	ran    []uint8 // how often each entry was run
}

// run does round after round until nothing is due.
func (r *gemRunner) run(ctx context.Context) error {
	for {
		var due bool
		if err := r.conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM gem_entries WHERE "+gemDue+")", time.Now().UTC()).Scan(&due); err != nil || !due {
			return err
		}
		rows, err := r.conn.Query(ctx, "SELECT DISTINCT causality_key FROM gem_entries WHERE "+gemDue+" LIMIT $2", time.Now().UTC(), gemKeys)
		if err != nil {
			return err
		}
		keys, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		first := int(r.share * float64(len(keys)))
		for i := range keys {
			if err := r.locked(ctx, keys[(first+i)%len(keys)]); err != nil {
				return err
			}
		}
	}
}

// locked works on a key under its lock, unless another has that.
func (r *gemRunner) locked(ctx context.Context, key string) error {
	name, token := r.prefix+key, rand.Text()
	err := r.redis.SetArgs(ctx, name, token, redis.SetArgs{Mode: "NX", TTL: gemLock}).Err()
	if errors.Is(err, redis.Nil) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	return errors.Join(r.work(ctx, key), r.unlock.Run(context.WithoutCancel(ctx), r.redis, []string{name}, token).Err())
}

// gemEntry is what the gem reads of an entry: all of it.
type gemEntry struct {
	ID                        int64
	ResourceClass, ResourceID *string
	EventName, Context        string
	ProcessedAt               *time.Time
	Arguments, Changeset      string
	CausalityKey              *string
	FailedAt, RetryAt         *time.Time
	ErrorClass, ErrorMessage  *string
	Attempts                  int
	CreatedAt, UpdatedAt      time.Time
}

// work runs a batch of a key's entries, and marks them.
func (r *gemRunner) work(ctx context.Context, key string) error {
	rows, err := r.conn.Query(ctx, "SELECT * FROM gem_entries WHERE "+gemDue+" AND causality_key = $2 ORDER BY created_at LIMIT $3",
		time.Now().UTC(), key, gemBatch)
	if err != nil {
		return err
	}
	entries, err := pgx.CollectRows(rows, pgx.RowToStructByPos[gemEntry])
	if err != nil {
		return err
	}
	ids := make([]int64, len(entries))
	for i, e := range entries {
		ids[i] = e.ID
		r.ran[e.ID-1]++
	}
	_, err = r.conn.Exec(ctx, `UPDATE gem_entries SET processed_at = $1, error_class = NULL, error_message = NULL, failed_at = NULL, retry_at = NULL
		WHERE id = ANY ($2)`, time.Now().UTC(), ids)
	return err
}

// ranOnce checks that each entry was run by one of the threads, and once.
func ranOnce(runners []*gemRunner) error {
	for i := range runners[0].ran {
		n := 0
		for _, one := range runners {
			n += int(one.ran[i])
		}
		if n != 1 {
			return fmt.Errorf("entry %d was run %d times", i+1, n)
		}
	}
	return nil
}
