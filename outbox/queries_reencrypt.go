package outbox

import (
	"cmp"
	"encoding/json"
	"strings"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/seal"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// sized is an entry, and about how much it carries.
type sized struct {
	ID   int64
	Size int
}

// sealPrefix is how everything begins that the plugin encrypts now.
func sealPrefix(p *reliable.Plugin) string { return seal.Prefix(p.EncryptionKey()) }

// where returns the condition of what carries something that begins otherwise.
// No index serves it: it stands beside one on ids.
func (s *stale) where() (string, []any) {
	const column = "({} <> '' AND substr({}, 1, ?) <> ?)"
	n := len(s.prefix)
	return "(" + each(column, " OR ") + ")", []any{n, s.prefix, n, s.prefix, n, s.prefix}
}

// each returns a text for each column that is encrypted.
func each(text, between string) string {
	columns := []string{"changeset", "arguments", "headers"}
	for i, column := range columns {
		columns[i] = strings.ReplaceAll(text, "{}", column)
	}
	return strings.Join(columns, between)
}

// highest returns the highest id, by the primary key.
func (s *stale) highest() (id int64, err error) {
	err = onWriter(s.db, func(tx *gorm.DB) error {
		return tx.Raw("SELECT coalesce(max(id), 0) FROM " + s.tables.Entries()).Scan(&id).Error
	})
	return id, err
}

// count counts the stale entries of a window, by the primary key.
func (s *stale) count(after, last int64) (n int64, err error) {
	where, args := s.where()
	err = onWriter(s.db, func(tx *gorm.DB) error {
		return tx.Raw("SELECT count(*) FROM "+s.tables.Entries()+" WHERE id > ? AND id <= ? AND "+where, append([]any{after, last}, args...)...).Scan(&n).Error
	})
	return n, err
}

// find returns them, by the primary key.
func (s *stale) find(after, last int64) (found []sized, err error) {
	where, args := s.where()
	size := each("coalesce(length({}), 0)", " + ")
	err = onWriter(s.db, func(tx *gorm.DB) error {
		return tx.Raw("SELECT id, "+size+" AS size FROM "+s.tables.Entries()+" WHERE id > ? AND id <= ? AND "+where+" ORDER BY id", append([]any{after, last}, args...)...).Scan(&found).Error
	})
	return found, err
}

// lock locks those of some entries that are still stale and that nobody else has
// locked, by the primary key. On SQLite it begins with a write, as selectParkedRow
// does.
func (s *stale) lock(tx *gorm.DB, chunk []sized) ([]*reliable.OutboxEntry, error) {
	where, args := s.where()
	query := "SELECT id, context, resource_class, resource_id, event_name, causality_key, owed, changeset, arguments, headers FROM " + s.tables.Entries() +
		" WHERE id IN ? AND " + where + " ORDER BY id"
	if tx.Name() == "sqlite" {
		if err := deleteParked(tx, s.tables, ""); err != nil {
			return nil, err
		}
	} else {
		query += " FOR UPDATE SKIP LOCKED"
	}
	var rows []struct {
		ID                                                int64
		Context, ResourceClass, ResourceID, EventName     string
		CausalityKey, Owed, Changeset, Arguments, Headers *string
	}
	if err := tx.Raw(query, append([]any{ids(chunk)}, args...)...).Scan(&rows).Error; err != nil {
		return nil, err
	}
	value := func(column *string) string { return *cmp.Or(column, new(string)) }
	entries := make([]*reliable.OutboxEntry, len(rows))
	for i, r := range rows {
		e := &reliable.OutboxEntry{
			ID: r.ID, Context: r.Context, ResourceClass: r.ResourceClass, ResourceID: r.ResourceID, EventName: r.EventName, CausalityKey: value(r.CausalityKey),
			Changeset: json.RawMessage(value(r.Changeset)), Arguments: json.RawMessage(value(r.Arguments)), Headers: json.RawMessage(value(r.Headers)),
		}
		if r.Owed != nil {
			e.Owed = owed(*r.Owed)
		}
		entries[i] = e
	}
	return entries, nil
}

// left returns those of a chunk that were not locked and are still stale, by
// the primary key.
func (s *stale) left(tx *gorm.DB, chunk []sized, locked []*reliable.OutboxEntry) ([]sized, error) {
	had := make(map[int64]bool, len(locked))
	for _, e := range locked {
		had[e.ID] = true
	}
	var others []sized
	for _, e := range chunk {
		if !had[e.ID] {
			others = append(others, e)
		}
	}
	where, args := s.where()
	var still []int64
	if err := tx.Raw("SELECT id FROM "+s.tables.Entries()+" WHERE id IN ? AND "+where, append([]any{ids(others)}, args...)...).Scan(&still).Error; err != nil {
		return nil, err
	}
	kept := make(map[int64]bool, len(still))
	for _, id := range still {
		kept[id] = true
	}
	busy := others[:0]
	for _, e := range others {
		if kept[e.ID] {
			busy = append(busy, e)
		}
	}
	return busy, nil
}

func ids(chunk []sized) []int64 {
	ids := make([]int64, len(chunk))
	for i, e := range chunk {
		ids[i] = e.ID
	}
	return ids
}

// update writes what a locked entry carries, by the primary key.
func (s *stale) update(tx *gorm.DB, e *reliable.OutboxEntry) error {
	column := func(text json.RawMessage) *string {
		if len(text) == 0 {
			return nil
		}
		value := string(text)
		return &value
	}
	return tx.Exec("UPDATE "+s.tables.Entries()+" SET changeset = ?, arguments = ?, headers = ? WHERE id = ?", column(e.Changeset), column(e.Arguments), column(e.Headers), e.ID).Error
}
