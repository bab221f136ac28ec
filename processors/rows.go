package processors

import (
	"database/sql"
	"encoding/json"

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

// readEntries reads rows of entryColumns.
func readEntries(rows *sql.Rows, n int) ([]*reliable.OutboxEntry, error) {
	defer func() { _ = rows.Close() }()
	entries := make([]*reliable.OutboxEntry, 0, min(n, 1000))
	var slab []reliable.OutboxEntry
	var row reliable.OutboxEntry
	var owed, key, changeset, arguments, headers, callbacks sql.NullString
	var created any
	into := []any{
		&row.ID, &row.Kind, &owed, &row.Context, &row.ResourceClass, &row.ResourceID, &row.EventName, &key,
		&changeset, &arguments, &headers, &created, &row.Attempts, &row.Crashes, &callbacks,
	}
	var last string
	var names []string // what last says
	for rows.Next() {
		err := rows.Scan(into...)
		if err != nil {
			return nil, err
		}
		if row.CreatedAt, err = timeOf(created); err != nil {
			return nil, err
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
		if row.Kind == 0 {
			row.Kind = reliable.EntryKind(row.Context, row.ResourceClass, row.EventName, row.Owed)
		}
		row.CausalityKey = key.String
		row.Changeset, row.Arguments = json.RawMessage(changeset.String), json.RawMessage(arguments.String)
		row.Headers, row.Callbacks = json.RawMessage(headers.String), json.RawMessage(callbacks.String)
		if len(slab) == cap(slab) {
			slab = make([]reliable.OutboxEntry, 0, min(max(n, 1), 100))
		}
		slab = append(slab, row)
		entries = append(entries, &slab[len(slab)-1])
	}
	return entries, rows.Err()
}
