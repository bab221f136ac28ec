package outbox

import (
	"cmp"
	"fmt"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// parkedPage is how many parked keys a statement reads at least, so that a
// filter that few of them pass takes no statement for each.
const parkedPage = 200

// parkedKeyRow is a row of outbox_parked_keys, and what of its entry is shown.
type parkedKeyRow struct {
	ParkedKey
	SinceText string
	parked    bool // the entry is there, and dead
}

// selectParked reads parked keys from the database that is written to: their
// rows in the order of time by the index _parked_at, the head of each by the
// primary key, and what is behind it by the index _lane. A row whose entry is not dead any more is none.
func selectParked(db *gorm.DB, t reliable.Tables, f ParkedFilter) (keys []ParkedKey, err error) {
	limit := cmp.Or(f.Limit, DefaultParkedLimit)
	err = onWriter(db, func(tx *gorm.DB) error {
		keys = []ParkedKey{}
		for after := (*parkedKeyRow)(nil); len(keys) < limit; {
			rows, err := selectParkedPage(tx, t, after, max(limit, parkedPage))
			if err != nil {
				return err
			}
			for i := range rows {
				after = &rows[i]
				if len(keys) == limit || !f.passes(after) {
					continue
				}
				if after.Since, err = timeOf(after.SinceText); err != nil {
					return fmt.Errorf("column parked_at: %w", err)
				}
				if after.Waiting, err = countBehind(tx, t, after.Lane, after.Key, after.Head); err != nil {
					return err
				}
				keys = append(keys, after.ParkedKey)
			}
			if len(rows) < max(limit, parkedPage) {
				return nil
			}
		}
		return nil
	})
	return keys, err
}

// selectParkedPage returns the next parked keys after one: the rows, then their
// heads. A join would leave to the planner with which to begin.
func selectParkedPage(tx *gorm.DB, t reliable.Tables, after *parkedKeyRow, limit int) (rows []parkedKeyRow, err error) {
	where, args, index := "", []any(nil), ""
	if after != nil {
		mark, at := timeParameter(tx, after.SinceText)
		where = " WHERE parked_at >= " + mark + " AND (parked_at > " + mark + " OR entry_id > ?)"
		args = []any{at, at, after.Head}
	}
	if tx.Name() == "mysql" { // it would sort a few thousand
		index = " FORCE INDEX FOR ORDER BY (" + t.Prefix + "outbox_parked_at)"
	}
	err = tx.Raw("SELECT causality_key AS "+tx.Statement.Quote("key")+", lane, entry_id AS head, "+timeText(tx, "parked_at")+" AS since_text, reason FROM "+
		t.ParkedKeys()+index+where+" ORDER BY parked_at, entry_id LIMIT ?", append(args, limit)...).Scan(&rows).Error
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	at := make(map[int64]*parkedKeyRow, len(rows))
	ids := make([]int64, len(rows))
	for i := range rows {
		ids[i], at[rows[i].Head] = rows[i].Head, &rows[i]
	}
	var heads []ParkedKey
	err = tx.Raw("SELECT id AS head, context, resource_class AS model, resource_id AS model_id, event_name AS event, "+
		"coalesce(error_class, '') AS error_class, coalesce(error_message, '') AS error_message, attempts, crashes FROM "+t.Entries()+
		" WHERE id IN ? AND dead_at IS NOT NULL AND lane IS NOT NULL AND processed_at IS NULL", ids).Scan(&heads).Error
	for _, h := range heads {
		k := at[h.Head]
		h.Key, h.Lane, h.Since, h.Reason = k.Key, k.Lane, k.Since, k.Reason
		k.ParkedKey, k.parked = h, true
	}
	return rows, err
}

// passes reports whether a key is parked, and the filter selects it.
func (f ParkedFilter) passes(k *parkedKeyRow) bool {
	return k.parked && (f.Context == "" || f.Context == k.Context) && (f.Model == "" || f.Model == k.Model) &&
		(f.Event == "" || f.Event == k.Event) && (f.ErrorClass == "" || f.ErrorClass == k.ErrorClass)
}

// countBehind counts the entries of a key behind its head, up to MaxWaiting.
func countBehind(tx *gorm.DB, t reliable.Tables, lane int, key string, head int64) (n int, err error) {
	query := "SELECT count(*) FROM (SELECT id FROM " + t.Entries() + " WHERE lane = ? AND causality_key = ? AND id > ? ORDER BY id LIMIT ?) AS behind"
	return n, tx.Raw(query, lane, key, head, MaxWaiting).Scan(&n).Error
}
