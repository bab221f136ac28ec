package processors

import (
	"database/sql"
	"encoding/json"
	"strconv"
	"time"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// readIDs reads the ids of all claim rows.
func readIDs(rows *sql.Rows) (map[int64]bool, error) {
	defer func() { _ = rows.Close() }()
	taken := make(map[int64]bool)
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		ids, err := parseIDs(text)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			taken[id] = true
		}
	}
	return taken, rows.Err()
}

// payload keeps a claim within its memory: what is read of large entries is
// bounded, and the next claims ask for fewer.
type payload struct {
	left int // bytes that may still be read for this claim
	mean int // bytes of an entry, lately; 0 is not known
}

// most returns how many of n entries to ask for.
func (p *payload) most(n int) int {
	if p.mean == 0 {
		return n
	}
	return min(n, max(maxClaimBytes/p.mean, 1))
}

// take counts an entry that was read. It reports whether there is room for
// another.
func (p *payload) take(e *reliable.OutboxEntry) bool {
	size := len(e.Changeset) + len(e.Arguments) + len(e.Headers) + len(e.Callbacks)
	p.left -= size
	if size > p.mean {
		p.mean = size // at once; downwards by and by
	} else {
		p.mean -= (p.mean - size) / 16
	}
	return p.left > 0
}

// readEntries reads rows of entryColumns, up to n and to what p allows; the
// first in any case.
func readEntries(rows *sql.Rows, n int, p *payload) ([]*reliable.OutboxEntry, error) {
	entries := make([]*reliable.OutboxEntry, 0, min(n, 1000))
	err := scanEntries(rows, n, p, nil, func(e *reliable.OutboxEntry) { entries = append(entries, e) })
	return entries, err
}

// integer is a column of integers. What is none, which SQLite takes for one, is
// 0: an error would keep all other rows from being read.
type integer int64

// Scan implements [sql.Scanner].
func (n *integer) Scan(value any) error {
	*n = 0
	switch v := value.(type) {
	case int64:
		*n = integer(v)
	case []byte:
		parsed, _ := strconv.ParseInt(string(v), 10, 64)
		*n = integer(parsed)
	case string:
		parsed, _ := strconv.ParseInt(v, 10, 64)
		*n = integer(parsed)
	}
	return nil
}

// scanEntries is readEntries for rows that have more columns behind those: it
// scans them into more, then calls each. What a column holds that no worker
// writes is left out, and the entry is read.
func scanEntries(rows *sql.Rows, n int, p *payload, more []any, each func(*reliable.OutboxEntry)) error {
	defer func() { _ = rows.Close() }()
	var slab []reliable.OutboxEntry
	var row reliable.OutboxEntry
	var owed, key, changeset, arguments, headers, callbacks sql.NullString
	var created any
	var kind, attempts, crashes integer
	into := append([]any{
		&row.ID, &kind, &owed, &row.Context, &row.ResourceClass, &row.ResourceID, &row.EventName, &key,
		&changeset, &arguments, &headers, &created, &attempts, &crashes, &callbacks,
	}, more...)
	var last string
	var names []string // what last says
	for rows.Next() {
		err := rows.Scan(into...)
		if err != nil {
			return err
		}
		if row.CreatedAt, err = timeOf(created); err != nil {
			row.CreatedAt = time.Time{} // infinite, or whatever SQLite takes: the entry can be worked all the same
		}
		if owed.Valid && owed.String != last { // neighbours mostly owe the same
			last, names = owed.String, nil
			if err := json.Unmarshal([]byte(owed.String), &names); err != nil {
				names = []string{owed.String} // nobody covers that: it waits, counted
			}
		}
		if row.Owed = nil; owed.Valid {
			row.Owed = names
		}
		row.Attempts, row.Crashes = int(attempts), int(crashes)
		if row.Kind = int64(kind); row.Kind == 0 {
			row.Kind = reliable.EntryKind(row.Context, row.ResourceClass, row.EventName, row.Owed)
		}
		row.CausalityKey = key.String
		row.Changeset, row.Arguments = json.RawMessage(changeset.String), json.RawMessage(arguments.String)
		row.Headers, row.Callbacks = json.RawMessage(headers.String), json.RawMessage(callbacks.String)
		if len(slab) == cap(slab) {
			slab = make([]reliable.OutboxEntry, 0, min(max(n, 1), 100))
		}
		slab = append(slab, row)
		each(&slab[len(slab)-1])
		if !p.take(&row) {
			break
		}
	}
	return rows.Err()
}
