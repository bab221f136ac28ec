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
	var last string
	var names []string // what last says
	for rows.Next() {
		e := new(reliable.OutboxEntry)
		var owed, key, changeset, arguments, headers, callbacks sql.NullString
		var created any
		if err := rows.Scan(&e.ID, &e.Kind, &owed, &e.Context, &e.ResourceClass, &e.ResourceID, &e.EventName, &key,
			&changeset, &arguments, &headers, &created, &e.Attempts, &e.Crashes, &callbacks); err != nil {
			return nil, err
		}
		var err error
		if e.CreatedAt, err = timeOf(created); err != nil {
			return nil, err
		}
		if owed.Valid && owed.String != last { // neighbours mostly owe the same
			last, names = owed.String, nil
			if err := json.Unmarshal([]byte(owed.String), &names); err != nil {
				names = []string{owed.String} // nobody covers that: it waits, counted
			}
		}
		if owed.Valid {
			e.Owed = names
		}
		if e.Kind == 0 {
			e.Kind = reliable.EntryKind(e.Context, e.ResourceClass, e.EventName, e.Owed)
		}
		e.CausalityKey = key.String
		e.Changeset, e.Arguments = json.RawMessage(changeset.String), json.RawMessage(arguments.String)
		e.Headers, e.Callbacks = json.RawMessage(headers.String), json.RawMessage(callbacks.String)
		entries = append(entries, e)
	}
	return entries, rows.Err()
}
