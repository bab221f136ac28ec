package outbox

import (
	"cmp"
	"encoding/json"
	"slices"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/gorm-aftercommit/aftercommit/internal/columns"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// parkedRow is a row of outbox_parked_keys without the time, which is the
// database's.
type parkedRow struct {
	CausalityKey string `gorm:"primaryKey"`
	Lane         int64
	EntryID      int64
	Reason       string
}

// selectParkedRow returns the entry that the row of a parked key names, 0 if
// there is no row: by the primary key. On SQLite it begins with a write, of
// nothing: who reads first may be refused to write.
func selectParkedRow(tx *gorm.DB, t reliable.Tables, key string) (entry int64, err error) {
	if tx.Name() == "sqlite" {
		if err := deleteParked(tx, t, key); err != nil {
			return 0, err
		}
	}
	return entry, tx.Table(t.ParkedKeys()).Select("entry_id").Where("causality_key = ?", key).Scan(&entry).Error
}

// deadEntry is an entry at which a key stands: what a release needs of it.
type deadEntry struct {
	reliable.OutboxEntry
	lane   int64  // -1 for none
	reason string // class of its last error, as workers show it
}

// lockEntry locks an entry by the primary key. It returns nil if no key stands
// at it: that is in the entry, the row of the parked key only shows it. A dead
// entry without a lane was skipped.
func lockEntry(tx *gorm.DB, t reliable.Tables, key string, id int64) (*deadEntry, error) {
	found, err := lockEntries(tx, t, "id = ? AND causality_key = ? AND dead_at IS NOT NULL AND lane IS NOT NULL", id, key)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return found[0], nil
}

// lockLoose locks those of some entries, in the order of their ids, that are
// dead and at which no key stands; or, if pending, that are not dead and that no
// worker holds: what it claims it locks first, so that the claims are looked at
// when that is over. By the primary key. On SQLite it begins with a write, as
// selectParkedRow does.
func lockLoose(tx *gorm.DB, t reliable.Tables, ids []int64, pending bool) ([]*deadEntry, error) {
	if tx.Name() == "sqlite" {
		if err := deleteParked(tx, t, ""); err != nil {
			return nil, err
		}
	}
	if !pending {
		found, err := lockEntries(tx, t, "id IN ? AND dead_at IS NOT NULL", ids)
		return slices.DeleteFunc(found, func(e *deadEntry) bool { return standsAt(e.CausalityKey, e.lane) }), err
	}
	found, err := lockEntries(tx, t, "id IN ? AND dead_at IS NULL", ids)
	if err != nil {
		return nil, err
	}
	_, held, err := selectHeld(tx, t)
	return slices.DeleteFunc(found, func(e *deadEntry) bool { return held[e.ID] != "" }), err
}

// lockEntries locks the entries of a condition on ids.
func lockEntries(tx *gorm.DB, t reliable.Tables, where string, args ...any) ([]*deadEntry, error) {
	query := "SELECT id, context, resource_class, event_name, causality_key, coalesce(lane, -1) AS lane, owed, callbacks, error_class FROM " + t.Entries() +
		" WHERE " + where + " AND processed_at IS NULL ORDER BY id"
	if tx.Name() != "sqlite" {
		query += " FOR UPDATE"
	}
	var rows []struct {
		ID, Lane                                  int64
		Context, ResourceClass, EventName         string
		CausalityKey, Owed, Callbacks, ErrorClass *string
	}
	if err := tx.Raw(query, args...).Scan(&rows).Error; err != nil {
		return nil, err
	}
	entries := make([]*deadEntry, len(rows))
	for i, r := range rows {
		e := &deadEntry{lane: r.Lane, reason: text(r.ErrorClass), OutboxEntry: reliable.OutboxEntry{
			ID: r.ID, Context: r.Context, ResourceClass: r.ResourceClass, EventName: r.EventName, CausalityKey: *cmp.Or(r.CausalityKey, new(string)),
		}}
		if r.Callbacks != nil {
			e.Callbacks = json.RawMessage(*r.Callbacks)
		}
		if r.Owed != nil {
			e.Owed = owed(*r.Owed)
		}
		entries[i] = e
	}
	return entries, nil
}

// owed reads a column owed as claims do: nobody covers what is no list.
func owed(column string) (names []string) {
	if err := json.Unmarshal([]byte(column), &names); err != nil {
		return []string{column}
	}
	return names
}

// lockDead locks the first entry that a key may stand at, but for one. It looks
// at the first of the key, by the index _lane: the head is the first, unless
// ids don't follow the commits.
func lockDead(tx *gorm.DB, t reliable.Tables, key string, except int64) (*deadEntry, error) {
	var id int64
	query := "SELECT coalesce(min(id), 0) FROM (SELECT id, dead_at FROM " + t.Entries() + " WHERE lane = ? AND causality_key = ? ORDER BY id LIMIT ?) AS first" +
		" WHERE dead_at IS NOT NULL AND id <> ?"
	if err := tx.Raw(query, reliable.LaneOf(key), key, MaxWaiting, except).Scan(&id).Error; err != nil || id == 0 {
		return nil, err
	}
	return lockEntry(tx, t, key, id)
}

// updateRetried makes a dead entry due, in the place that its key gives it, by
// the primary key.
func updateRetried(tx *gorm.DB, t reliable.Tables, e *deadEntry, kind int64, callbacks json.RawMessage) error {
	var lane *int64
	if e.CausalityKey != "" {
		of := reliable.LaneOf(e.CausalityKey)
		lane = &of
	}
	var states *string
	if callbacks != nil {
		text := string(callbacks)
		states = &text
	}
	return tx.Exec("UPDATE "+t.Entries()+" SET dead_at = NULL, retry_at = "+now(tx)+", attempts = 0, crashes = 0, suspect = false, kind = ?, callbacks = ?, lane = ?, updated_at = "+now(tx)+
		" WHERE id = ?", kind, states, lane, e.ID).Error
}

// moveToHistory gives an entry up as it is, by the primary key.
func moveToHistory(tx *gorm.DB, t reliable.Tables, id int64) error {
	err := tx.Exec("INSERT INTO "+t.History()+" ("+columns.History+", token, processed_at) SELECT "+columns.History+", 0, "+now(tx)+
		" FROM "+t.Entries()+" WHERE id = ?", id).Error
	if err != nil {
		return err
	}
	return tx.Exec("DELETE FROM "+t.Entries()+" WHERE id = ?", id).Error
}

// updateSkipped takes a dead entry out of the order, by the primary key.
func updateSkipped(tx *gorm.DB, t reliable.Tables, id int64) error {
	return tx.Exec("UPDATE "+t.Entries()+" SET lane = NULL, updated_at = "+now(tx)+" WHERE id = ?", id).Error
}

// upsertParked shows at which entry a key stands, by the primary key.
func upsertParked(tx *gorm.DB, t reliable.Tables, e *deadEntry) error {
	row := parkedRow{e.CausalityKey, reliable.LaneOf(e.CausalityKey), e.ID, e.reason}
	again := clause.OnConflict{
		Columns:   []clause.Column{{Name: "causality_key"}},
		DoUpdates: append(clause.AssignmentColumns([]string{"entry_id", "reason"}), clause.Assignments(map[string]any{"parked_at": gorm.Expr(now(tx))})...),
	}
	return tx.Table(t.ParkedKeys()).Clauses(again).Create(&row).Error
}

// deleteParked deletes the row of a key if it names one of the entries, by the
// primary key.
func deleteParked(tx *gorm.DB, t reliable.Tables, key string, entries ...int64) error {
	return tx.Table(t.ParkedKeys()).Where("causality_key = ? AND entry_id IN ?", key, append(entries, 0)).Delete(&parkedRow{}).Error
}

// now is the database's time in UTC, in the format of its tables.
func now(db *gorm.DB) string {
	switch db.Name() {
	case "postgres":
		return "clock_timestamp()"
	case "mysql":
		return "utc_timestamp(6)"
	default:
		return "strftime('%Y-%m-%d %H:%M:%f', 'now')"
	}
}
