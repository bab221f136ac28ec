package reliable

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/failpoint"
)

// Lanes is into how many lanes causality keys are hashed. It is fixed: the
// lane is stored with each entry.
const Lanes = 64

// insertRows and insertBytes are how much one INSERT takes: with the rows'
// columns far below the least limit on parameters (SQLite's 32,766), with their
// payloads far below that on a value's length (PostgreSQL's 1 GB) and on a
// statement's (MariaDB's max_allowed_packet, 16 MiB unless it is set).
const (
	insertRows  = 500
	insertBytes = 4 << 20
)

// row is an entry about to be written.
type row struct {
	owed                                   []string
	context, class, resourceID, event, key string
	changeset, arguments, headers          json.RawMessage
	runAt                                  time.Time
	strict                                 bool // the key is locked before the id is drawn
}

// columns are those that values writes; the database fills the others.
const columns = "kind, owed, context, resource_class, resource_id, event_name, causality_key, lane, changeset, arguments, headers, retry_at"

// values returns the rows' values in the order of columns: text, int64 or nil.
func values(dialect string, rows []row) ([][]any, error) {
	all := make([][]any, len(rows))
	var last *row // what its neighbours mostly share with it
	var kind, owed, context, class, event any
	for i := range rows {
		r := &rows[i]
		if last == nil || r.context != last.context || r.class != last.class || r.event != last.event || !slices.Equal(r.owed, last.owed) {
			text, err := json.Marshal(r.owed)
			if err != nil {
				return nil, err
			}
			last, kind, owed = r, EntryKind(r.context, r.class, r.event, r.owed), optional(r.owed != nil, text)
			context, class, event = r.context, r.class, r.event
		}
		var key, lane, runAt any
		if r.key != "" {
			key, lane = r.key, LaneOf(r.key)
		}
		if !r.runAt.IsZero() {
			runAt = timeText(dialect, r.runAt)
		}
		all[i] = []any{
			kind, owed, context, class, r.resourceID, event, key, lane,
			optional(r.changeset != nil, r.changeset), optional(r.arguments != nil, r.arguments), optional(r.headers != nil, r.headers), runAt,
		}
	}
	return all, nil
}

// optional returns text for a column, NULL if there is none.
func optional(present bool, text []byte) any {
	if !present {
		return nil
	}
	return string(text)
}

// timeText returns t as the tables of a dialect hold it, or read it.
func timeText(dialect string, t time.Time) string {
	switch dialect {
	case "sqlite": // times compare as text: one format, UTC
		return t.UTC().Format("2006-01-02 15:04:05.000")
	case "mysql": // without a zone, so that the connection's loc does not shift it
		return t.UTC().Format("2006-01-02 15:04:05.000000")
	default:
		return t.UTC().Format(time.RFC3339Nano)
	}
}

// LaneOf returns the lane of a causality key, from 0 to Lanes-1.
func LaneOf(key string) int64 {
	sum := sha256.Sum256([]byte(key))
	return int64(binary.BigEndian.Uint64(sum[:8]) % Lanes)
}

// write writes the rows on tx's connection, in order, and returns how many are
// written, also after an error. traced tells that a tracer of the driver's
// wakes the workers at the commit.
func (p *Plugin) write(ctx context.Context, tx *gorm.DB, rows []row) (n int, traced bool, err error) {
	return p.inserts(ctx, tx, rows, func(ctx context.Context, query string, args []any, n int) error {
		result, err := tx.Statement.ConnPool.ExecContext(ctx, query, args...)
		if err == nil && tx.Name() == "sqlite" {
			// go-sqlite runs nothing, and says that all is well, if ctx ends before its first step; what it
			// counts then are the rows of the statement before, the captured one.
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		inserted, err := result.RowsAffected()
		if err == nil && inserted != int64(n) {
			err = fmt.Errorf("inserted %d entries instead of %d", inserted, n)
		}
		return err
	})
}

// insert is write, and returns the rows' ids, which takes longer.
func (p *Plugin) insert(ctx context.Context, tx *gorm.DB, rows []row) (ids []int64, traced bool, err error) {
	ids = make([]int64, 0, len(rows))
	_, traced, err = p.inserts(ctx, tx, rows, func(ctx context.Context, query string, args []any, n int) (err error) {
		found, err := tx.Statement.ConnPool.QueryContext(ctx, query+" RETURNING id", args...)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, found.Close()) }()
		some, err := scanIDs(found, n)
		ids = append(ids, some...)
		return err
	})
	return ids, traced, err
}

// inserts lets send execute the INSERTs of the rows, n at a time.
func (p *Plugin) inserts(ctx context.Context, tx *gorm.DB, rows []row, send func(ctx context.Context, query string, args []any, n int) error) (done int, traced bool, err error) {
	if err := p.lockKeys(ctx, tx, rows); err != nil {
		return 0, false, err
	}
	mark := &insertion{plugin: p}
	ctx = context.WithValue(ctx, insertionKey{}, mark)
	for done < len(rows) {
		n := chunk(rows[done:])
		query, args, err := p.insertInto(tx, rows[done:done+n])
		if err != nil {
			return done, false, err
		}
		failpoint.Hit("entries.sending")
		if err := send(ctx, query, args, n); err != nil {
			return done, false, p.explain(err)
		}
		failpoint.Hit("entries.sent")
		done += n
	}
	return done, mark.traced, nil
}

// chunk returns how many of the rows the next INSERT takes.
func chunk(rows []row) int {
	bytes := 0
	for i := range rows {
		bytes += len(rows[i].changeset) + len(rows[i].arguments) + len(rows[i].headers)
		if i > 0 && (i == insertRows || bytes > insertBytes) {
			return i
		}
	}
	return len(rows)
}

// insertInto returns the INSERT of the rows.
func (p *Plugin) insertInto(tx *gorm.DB, rows []row) (query string, args []any, err error) {
	dialect := tx.Name()
	all, err := values(dialect, rows)
	if err != nil {
		return "", nil, err
	}
	into := "INSERT INTO " + tx.Statement.Quote(p.cfg.Tables.Entries()) + " (" + columns + ") "
	if dialect == "postgres" {
		query, args = unnest(all)
		return into + query, args, nil
	}
	tuple := "(?" + strings.Repeat(",?", len(all[0])-1) + ")"
	for _, row := range all {
		args = append(args, row...)
	}
	return into + "VALUES " + tuple + strings.Repeat(","+tuple, len(all)-1), args, nil
}

// scanIDs reads the n ids that an INSERT returned.
func scanIDs(rows *sql.Rows, n int) ([]int64, error) {
	ids := make([]int64, 0, n)
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if len(ids) != n {
		return nil, fmt.Errorf("inserted %d entries instead of %d", len(ids), n)
	}
	return ids, nil
}

// explain adds the way out to the error of a missing table.
func (p *Plugin) explain(err error) error {
	text := err.Error()
	for _, sign := range []string{"42P01", "1146", "no such table"} {
		if strings.Contains(text, sign) {
			return fmt.Errorf("table %s is missing: call migrations.Up(ctx, db) or run \"reliable migrate up\": %w", p.cfg.Tables.Entries(), err)
		}
	}
	return err
}
