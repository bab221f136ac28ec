package processors

import (
	"context"
	"database/sql"
	"math"
	"strings"
	"time"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// front is the lowest id of an entry that was never tried, as it was at the
// last look. What is below is dead, kept or deleted, and not to be walked over
// every time; but what commits late may come to be below.
type front struct {
	id    int64
	looks int // since the last one from the start
}

// looksFromFront is how many looks begin there before one from the start.
const looksFromFront = 10

// measureLatency tells how long entries wait, if anybody listens. It reads a
// few thousand rows at most.
func (h *housekeeper) measureLatency(ctx context.Context) (more bool, err error) {
	monitor := h.site.Plugin.Monitor()
	if !monitor.Active() {
		return false, nil
	}
	e := &reliable.LatencyMeasured{Worker: h.site.Worker}
	begin := h.front.id
	if h.front.looks++; h.front.looks > looksFromFront {
		h.front.looks, begin = 0, 0
	}
	err = h.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var fresh, oldest, overdue float64
		if err := tx.QueryRowContext(ctx, h.q.waitingFresh, begin).Scan(&e.Backlog, &h.front.id, &fresh); err != nil {
			return err
		}
		if err := tx.QueryRowContext(ctx, h.q.waitingRetries).Scan(&oldest, &overdue); err != nil {
			return err
		}
		e.Oldest, e.Overdue = duration(max(fresh, oldest)), duration(max(fresh, overdue))
		return h.measureProcessed(ctx, tx, e)
	})
	if err != nil {
		return false, err
	}
	monitor.Publish(e)
	return false, nil
}

// measureProcessed looks at what was done in the last minute.
func (h *housekeeper) measureProcessed(ctx context.Context, tx *sql.Tx, e *reliable.LatencyMeasured) error {
	query, args := h.q.processed, []any(nil)
	switch {
	case h.completion == Delete:
		return nil
	case h.completion == Keep:
		query = h.q.processedKept
	case h.dialect == "postgres":
		var partition sql.NullString
		history := h.site.Plugin.Tables().History()
		if err := tx.QueryRowContext(ctx, "SELECT to_regclass($1 || to_char(now() AT TIME ZONE 'UTC', '_YYYYMMDD'))::text", history).Scan(&partition); err != nil || !partition.Valid {
			return err
		}
		query, args = strings.Replace(query, "{partition}", partition.String, 1), []any{partition.String}
	}
	var least, most, mean float64
	err := tx.QueryRowContext(ctx, query, args...).Scan(&e.Processed, &least, &most, &mean)
	e.Minimum, e.Maximum, e.Average = duration(least), duration(most), duration(mean)
	return err
}

// duration is a number of seconds, 0 for one that is ahead: clocks of hosts
// that write created_at may differ. It is rounded to microseconds, as databases
// keep times: or else an average could be less than the least by a rounding. A
// time that nobody's clock told may be longer ago than a duration can be.
func duration(seconds float64) time.Duration {
	if seconds >= longest.Seconds() {
		return longest
	}
	return time.Duration(math.Round(max(seconds, 0)*1e6)) * time.Microsecond
}

// longest is the longest duration, in microseconds.
const longest = math.MaxInt64 / time.Microsecond * time.Microsecond
