package reliable

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"gorm.io/gorm"
)

// Lanes is into how many lanes causality keys are hashed. It is fixed: the
// lane is stored with each entry.
const Lanes = 64

// insertRows is how many rows one INSERT takes: with their columns far below
// the least limit on parameters (SQLite's 32,766).
const insertRows = 500

// row is an entry about to be written.
type row struct {
	owed                                   []string
	context, class, resourceID, event, key string
	changeset, arguments, headers          json.RawMessage
	runAt                                  time.Time
}

// columns are those that insert writes; the database fills the others.
const columns = "kind, owed, context, resource_class, resource_id, event_name, causality_key, lane, changeset, arguments, headers, retry_at"

// values returns the row's values in the order of columns.
func (r *row) values(dialect string) ([]any, error) {
	owed, err := json.Marshal(r.owed)
	if err != nil {
		return nil, err
	}
	var key, lane, runAt any
	if r.key != "" {
		key, lane = r.key, LaneOf(r.key)
	}
	if !r.runAt.IsZero() {
		runAt = timeValue(dialect, r.runAt)
	}
	return []any{
		EntryKind(r.context, r.class, r.event, r.owed), optional(r.owed != nil, owed), r.context, r.class, r.resourceID, r.event, key, lane,
		optional(r.changeset != nil, r.changeset), optional(r.arguments != nil, r.arguments), optional(r.headers != nil, r.headers), runAt,
	}, nil
}

// optional returns text for a column, NULL if there is none.
func optional(present bool, text []byte) any {
	if !present {
		return nil
	}
	return string(text)
}

// timeValue returns t as the tables of a dialect hold it.
func timeValue(dialect string, t time.Time) any {
	switch dialect {
	case "sqlite": // times compare as text: one format, UTC
		return t.UTC().Format("2006-01-02 15:04:05.000")
	case "mysql": // text, so that the connection's loc does not shift it
		return t.UTC().Format("2006-01-02 15:04:05.000000")
	default:
		return t.UTC()
	}
}

// LaneOf returns the lane of a causality key, from 0 to Lanes-1.
func LaneOf(key string) int64 {
	sum := sha256.Sum256([]byte(key))
	return int64(binary.BigEndian.Uint64(sum[:8]) % Lanes)
}

// insert writes the rows on tx's connection, in order, and returns their ids.
// traced tells that a tracer of the driver's wakes the workers at the commit.
func (p *Plugin) insert(ctx context.Context, tx *gorm.DB, rows []row) (ids []int64, traced bool, err error) {
	ids = make([]int64, 0, len(rows))
	mark := &insertion{plugin: p}
	ctx = context.WithValue(ctx, insertionKey{}, mark)
	for len(rows) > 0 {
		n := min(len(rows), insertRows)
		some, err := p.insertSome(ctx, tx, rows[:n])
		if err != nil {
			return nil, false, p.explain(err)
		}
		ids, rows = append(ids, some...), rows[n:]
	}
	return ids, mark.traced, nil
}

func (p *Plugin) insertSome(ctx context.Context, tx *gorm.DB, rows []row) (ids []int64, err error) {
	dialect := tx.Name()
	var query strings.Builder
	query.WriteString("INSERT INTO " + tx.Statement.Quote(p.cfg.Tables.Entries()) + " (" + columns + ") VALUES ")
	var args []any
	for i := range rows {
		values, err := rows[i].values(dialect)
		if err != nil {
			return nil, err
		}
		for j := range values {
			switch {
			case j > 0:
				query.WriteByte(',')
			case i > 0:
				query.WriteString(",(")
			default:
				query.WriteByte('(')
			}
			query.WriteByte('?')
		}
		query.WriteByte(')')
		args = append(args, values...)
	}
	query.WriteString(" RETURNING id")
	text := query.String()
	if dialect == "postgres" {
		text = numbered(text)
	}
	found, err := tx.Statement.ConnPool.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, found.Close()) }()
	return scanIDs(found, len(rows))
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

// numbered turns the placeholders of a statement without literals into $1, $2 ...
func numbered(query string) string {
	var b strings.Builder
	n := 0
	for _, c := range []byte(query) {
		if c != '?' {
			b.WriteByte(c)
			continue
		}
		n++
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(n))
	}
	return b.String()
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
