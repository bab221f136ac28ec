package reliabletest

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// queries is the text of every statement for one database.
type queries struct {
	dialect string
	entries string // the transaction's, and, but on PostgreSQL, what was committed before; by the primary key
	ids     string // of entries; by the primary key

	committed  string // of a database; by the primary key
	unfinished string // those that are not done; by the primary key

	update string // what an entry came to; by the primary key
	file   string // SQLite: of the database; empty if it is in memory
}

// millis is how times travel, in UTC.
const millis = "2006-01-02 15:04:05.000"

func newQueries(dialect string, t reliable.Tables) queries {
	text, moment, mine := "CAST({column} AS char)", "?", ""
	switch dialect {
	case "postgres":
		text, moment = "CAST({column} AT TIME ZONE 'UTC' AS text)", "(CAST(? AS timestamp) AT TIME ZONE 'UTC')"
		// Of the rows that a transaction sees, those that one in progress wrote are its own. xmin lacks the
		// epoch: it is the id next to the transaction's with these 32 bits.
		mine = `, (SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint)) AS me(xid)
			WHERE pg_xact_status(CAST(CAST(xid + (CAST(CAST(xmin AS text) AS bigint) - xid % 4294967296 + 6442450944) % 4294967296 - 2147483648 AS text) AS xid8)) = 'in progress'`
	case "sqlite":
		text = "CAST({column} AS text)"
	}
	expand := strings.NewReplacer("{entries}", t.Entries(), "{mine}", mine, "{moment}", moment,
		"{created}", strings.ReplaceAll(text, "{column}", "created_at"), "{retry}", strings.ReplaceAll(text, "{column}", "retry_at"))
	const entries = `SELECT id, kind, owed, context, resource_class, resource_id, event_name, causality_key, changeset, arguments, headers,
		{created}, attempts, crashes, callbacks, {retry}, dead_at IS NOT NULL, processed_at IS NOT NULL FROM {entries}`
	q := queries{
		dialect:    dialect,
		entries:    entries + `{mine} ORDER BY id`,
		committed:  entries + ` ORDER BY id`,
		unfinished: entries + ` WHERE processed_at IS NULL ORDER BY id`,
		ids:        `SELECT id FROM {entries} WHERE id IN ?`,
		update: `UPDATE {entries} SET callbacks = ?, attempts = ?, error_class = ?, error_message = ?,
			retry_at = {moment}, processed_at = {moment}, dead_at = {moment} WHERE id = ?`,
		file: `SELECT file FROM pragma_database_list WHERE name = 'main'`,
	}
	for _, text := range []*string{&q.entries, &q.unfinished, &q.committed, &q.ids, &q.update} {
		*text = expand.Replace(*text)
	}
	return q
}

// record is an entry, and what the table says of it besides.
type record struct {
	entry   *reliable.OutboxEntry
	retryAt time.Time // zero = at once
	dead    bool
	done    bool
}

// own returns the entries that tx wrote, in order.
func (q *queries) own(ctx context.Context, tx *gorm.DB, pool *sql.DB) ([]*record, error) {
	seen, err := q.read(tx, q.entries)
	if err != nil || len(seen) == 0 || q.dialect == "postgres" {
		return seen, err
	}
	outside, err := q.outside(ctx, tx, pool)
	if err != nil || outside == nil {
		return seen, err
	}
	ids := make([]int64, len(seen))
	for i, r := range seen {
		ids[i] = r.entry.ID
	}
	var committed []int64
	if err := outside.Raw(q.ids, ids).Scan(&committed).Error; err != nil {
		return nil, fmt.Errorf("which entries were committed before: %w", err)
	}
	others := make(map[int64]bool, len(committed))
	for _, id := range committed {
		others[id] = true
	}
	var own []*record
	for _, r := range seen {
		if !others[r.entry.ID] {
			own = append(own, r)
		}
	}
	return own, nil
}

// all returns the entries of a database, in order.
func (q *queries) all(_ context.Context, db *gorm.DB, _ *sql.DB) ([]*record, error) {
	return q.read(db, q.committed)
}

// outside returns a session that sees what is committed, and nothing else. It is
// nil where there can be none, in SQLite.
func (q *queries) outside(ctx context.Context, tx *gorm.DB, pool *sql.DB) (*gorm.DB, error) {
	stats := pool.Stats()
	full := stats.MaxOpenConnections > 0 && stats.InUse >= stats.MaxOpenConnections
	if q.dialect == "sqlite" {
		var file string
		if err := tx.Raw(q.file).Scan(&file).Error; err != nil {
			return nil, err
		}
		if full || file == "" {
			return nil, nil
		}
	}
	if full {
		return nil, fmt.Errorf("which entries were committed before: all %d connections of the pool are in use, and another is needed to see that: SetMaxOpenConns(%d) or more",
			stats.MaxOpenConnections, stats.MaxOpenConnections+1)
	}
	outside := tx.Session(&gorm.Session{NewDB: true, Context: ctx})
	outside.Statement.ConnPool = pool
	return outside, nil
}

// read returns what a query of entries finds.
func (q *queries) read(tx *gorm.DB, query string) (found []*record, err error) {
	rows, err := tx.Raw(query).Rows()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		r, err := scan(rows)
		if err != nil {
			return nil, err
		}
		found = append(found, r)
	}
	return found, rows.Err()
}

// scan reads a row of entries.
func scan(rows *sql.Rows) (*record, error) {
	e := new(reliable.OutboxEntry)
	r := &record{entry: e}
	var owed, key, changeset, arguments, headers, created, callbacks, retry sql.NullString
	err := rows.Scan(&e.ID, &e.Kind, &owed, &e.Context, &e.ResourceClass, &e.ResourceID, &e.EventName, &key, &changeset, &arguments, &headers,
		&created, &e.Attempts, &e.Crashes, &callbacks, &retry, &r.dead, &r.done)
	if err != nil {
		return nil, err
	}
	e.CausalityKey = key.String
	e.Changeset, e.Arguments = json.RawMessage(changeset.String), json.RawMessage(arguments.String)
	e.Headers, e.Callbacks = json.RawMessage(headers.String), json.RawMessage(callbacks.String)
	if owed.Valid {
		if err := json.Unmarshal([]byte(owed.String), &e.Owed); err != nil {
			return nil, fmt.Errorf("entry %d: column owed: %w", e.ID, err)
		}
	}
	if e.CreatedAt, err = time.Parse(time.DateTime, created.String); err == nil && retry.Valid {
		r.retryAt, err = time.Parse(time.DateTime, retry.String)
	}
	if err != nil {
		return nil, fmt.Errorf("entry %d: %w", e.ID, err)
	}
	return r, nil
}

// finish writes what an entry came to. What is done stays where it is, as with
// RELIABLE_COMPLETION=keep, to be found by [RequireRecorded].
func (q *queries) finish(ctx context.Context, tx gorm.ConnPool, o reliable.Outcome) error {
	var retry, done, dead any
	now := time.Now().UTC().Format(millis)
	switch o.State {
	case reliable.StateDone:
		done = now
	case reliable.StateDead:
		dead = now
	case reliable.StateRetry:
		retry = o.RetryAt.UTC().Format(millis)
	case reliable.StateReleased:
	}
	return q.write(ctx, tx, o, retry, done, dead)
}

func (q *queries) write(ctx context.Context, tx gorm.ConnPool, o reliable.Outcome, retry, done, dead any) error {
	callbacks := sql.NullString{String: string(o.Callbacks), Valid: len(o.Callbacks) > 0}
	_, err := tx.ExecContext(ctx, q.bind(q.update), callbacks, o.Attempts, o.ErrorClass, o.ErrorMessage, retry, done, dead, o.Entry.ID)
	return err
}

// bind numbers the placeholders of a statement that does not go through GORM.
func (q *queries) bind(query string) string {
	if q.dialect != "postgres" {
		return query
	}
	var b strings.Builder
	for i, part := range strings.Split(query, "?") {
		if i > 0 {
			fmt.Fprintf(&b, "$%d", i)
		}
		b.WriteString(part)
	}
	return b.String()
}
