package outbox

import (
	"cmp"
	"fmt"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// selectParked reads parked keys from the database that is written to: their
// rows in the order of time by the index _parked_at, the head of each by the
// primary key, and what is behind it by the index _lane. A row whose entry is not dead any more is none.
func selectParked(db *gorm.DB, t reliable.Tables, f ParkedFilter) ([]ParkedKey, error) {
	var rows []struct {
		ParkedKey
		SinceText string
	}
	err := onWriter(db, func(tx *gorm.DB) error {
		query := tx.Table(t.ParkedKeys() + " AS p").
			Joins("JOIN " + t.Entries() + " AS e ON e.id = p.entry_id").
			Where("e.dead_at IS NOT NULL AND e.lane IS NOT NULL AND e.processed_at IS NULL").
			Select("p.causality_key AS " + tx.Statement.Quote("key") + ", p.lane, p.entry_id AS head, " + timeText(tx, "p.parked_at") + " AS since_text, p.reason, " +
				"e.context, e.resource_class AS model, e.resource_id AS model_id, e.event_name AS event, " +
				"coalesce(e.error_class, '') AS error_class, coalesce(e.error_message, '') AS error_message, e.attempts, e.crashes")
		for _, name := range []struct{ column, value string }{
			{"e.context", f.Context}, {"e.resource_class", f.Model}, {"e.event_name", f.Event}, {"e.error_class", f.ErrorClass},
		} {
			if name.value != "" {
				query = query.Where(name.column+" = ?", name.value)
			}
		}
		if err := query.Order("p.parked_at, p.entry_id").Limit(cmp.Or(f.Limit, DefaultParkedLimit)).Scan(&rows).Error; err != nil {
			return err
		}
		behind := "SELECT count(*) FROM (SELECT id FROM " + t.Entries() + " WHERE lane = ? AND causality_key = ? AND id > ? ORDER BY id LIMIT ?) AS behind"
		for i := range rows {
			k := &rows[i].ParkedKey
			if err := tx.Raw(behind, k.Lane, k.Key, k.Head, MaxWaiting).Scan(&k.Waiting).Error; err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	keys := make([]ParkedKey, len(rows))
	for i := range rows {
		keys[i] = rows[i].ParkedKey
		if keys[i].Since, err = timeOf(rows[i].SinceText); err != nil {
			return nil, fmt.Errorf("column parked_at: %w", err)
		}
	}
	return keys, nil
}
