package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

const (
	floorBatch = 1000
	floorGroup = 500
)

// floor drains with the statements of our design and nothing around them: raw
// pgx, no callback, no failure handling. It is what a worker of that design
// could come to. One connection claims a batch ahead, the other finishes.
func (b *bench) floor(ctx context.Context, entries int, completion processors.Completion) (c cost, err error) {
	err = b.in(ctx, func(p place) error {
		db, closed, err := openOurs(p.url, reliable.Config{Registry: nothing.registry(func(uint) {})})
		if err != nil {
			return err
		}
		err = errors.Join(p.seed(ctx, db, entries, 0), closed(), p.settled(ctx),
			p.exec(ctx, fmt.Sprintf("CREATE TABLE %[1]s.floor_history PARTITION OF %[1]s.outbox_history DEFAULT", p.schema)))
		if err != nil {
			return err
		}
		claimer, err := pgx.Connect(ctx, p.url)
		if err != nil {
			return err
		}
		defer func() { _ = claimer.Close(ctx) }()
		finisher, err := pgx.Connect(ctx, p.url)
		if err != nil {
			return err
		}
		defer func() { _ = finisher.Close(ctx) }()
		m, err := p.begin(ctx)
		if err != nil {
			return err
		}
		defer m.close(ctx)
		if err := pipeline(ctx, claimer, finisher, floorFinish(completion)); err != nil {
			return err
		}
		at, err := p.until(ctx, p.drained(span{0, entries})...)
		if err != nil {
			return err
		}
		c, err = m.end(ctx, entries, at, func() error { return errors.Join(claimer.Close(ctx), finisher.Close(ctx)) })
		if err != nil {
			return err
		}
		return p.archived(ctx, completion, entries)
	})
	return c, err
}

// held is a claim of the floor.
type held struct {
	token int64
	ids   []int64
}

// pipeline claims and finishes, each on its own connection, until nothing is left.
func pipeline(ctx context.Context, claimer, finisher *pgx.Conn, finish string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	claims := make(chan held, 1)
	ended := make(chan error, 1)
	go func() {
		defer close(claims)
		ended <- claimAll(ctx, claimer, claims)
	}()
	for h := range claims {
		for len(h.ids) > 0 {
			group := h.ids[:min(floorGroup, len(h.ids))]
			h.ids = h.ids[len(group):]
			if _, err := finisher.Exec(ctx, finish, h.token, group, h.ids); err != nil {
				cancel(err)
				return errors.Join(err, <-ended)
			}
		}
	}
	return <-ended
}

// claimAll claims batch after batch above the last one, in two round trips.
func claimAll(ctx context.Context, conn *pgx.Conn, claims chan<- held) error {
	var last int64
	for {
		ids, err := lockDue(ctx, conn, last)
		if err != nil || len(ids) == 0 {
			return err
		}
		last = ids[len(ids)-1]
		var h held
		batch := new(pgx.Batch)
		// A statement of its own sees every claim that is older than the locks.
		batch.Queue(`INSERT INTO outbox_claims (worker, ids, lo, hi)
			SELECT 'floor', array_agg(id ORDER BY id), min(id), max(id) FROM unnest($1::bigint[]) id
			WHERE id NOT IN (SELECT unnest(ids) FROM outbox_claims) RETURNING token, ids`, ids).
			QueryRow(func(row pgx.Row) error { return row.Scan(&h.token, &h.ids) })
		batch.Queue("COMMIT")
		if err := conn.SendBatch(ctx, batch).Close(); err != nil {
			return fmt.Errorf("claim: %w", err)
		}
		select {
		case claims <- h:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// lockDue begins a transaction and locks what is due above an id. What a
// callback would need of an entry is read with it.
func lockDue(ctx context.Context, conn *pgx.Conn, above int64) (ids []int64, err error) {
	batch := new(pgx.Batch)
	batch.Queue("BEGIN ISOLATION LEVEL READ COMMITTED")
	batch.Queue(`SELECT id, kind, owed, resource_class, resource_id, event_name, changeset FROM outbox_entries
		WHERE id > $1 AND retry_at IS NULL AND dead_at IS NULL AND id NOT IN (SELECT unnest(ids) FROM outbox_claims)
		ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED`, above, floorBatch).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var id, kind int64
			var owed, class, resource, event, changeset string
			if err := rows.Scan(&id, &kind, &owed, &class, &resource, &event, &changeset); err != nil {
				return err
			}
			ids = append(ids, id)
		}
		return rows.Err()
	})
	if err := conn.SendBatch(ctx, batch).Close(); err != nil {
		return nil, fmt.Errorf("lock due entries: %w", err)
	}
	return ids, nil
}

// floorFinish returns the statement that finishes a group ($2) of the claim
// ($1) and leaves it the rest ($3), unless the claim is gone.
func floorFinish(completion processors.Completion) string {
	const columns = "id, kind, owed, context, resource_class, resource_id, event_name, causality_key, changeset, arguments, headers, " +
		"created_at, attempts, crashes, error_class, error_message, callbacks"
	statement := `WITH fence AS (SELECT token FROM outbox_claims WHERE token = $1 FOR UPDATE),
		rest AS (UPDATE outbox_claims SET ids = $3::bigint[] WHERE token = (SELECT token FROM fence)),
		gone AS (DELETE FROM outbox_entries WHERE id = ANY ($2::bigint[]) AND EXISTS (SELECT FROM fence) RETURNING ` + columns + `)`
	if completion != processors.Delete {
		statement += `, kept AS (INSERT INTO outbox_history (` + columns + `, token, processed_at) SELECT ` + columns + `, $1, clock_timestamp() FROM gone)`
	}
	return statement + ` SELECT count(*) FROM fence`
}
