package processors

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// On PostgreSQL the history is a table per day. Neither a finish nor a reader
// may wait for what makes or removes one: partitions are made as tables of
// their own, then attached; they are detached CONCURRENTLY, then dropped. What
// meets a reader that does not end gives up after a moment and is tried again.

const (
	daysAhead = 7

	// detachTimeout is how long a detach waits for those who read the history.
	// It is the deadline of the call, not a setting of the session: a detach
	// can't run in a transaction, and behind a pooler settings go astray.
	detachTimeout = 2 * time.Second
)

// partitions makes the history's partitions from today to a week ahead.
func (p *NonOrdered) partitions(ctx context.Context, s *session) error {
	if p.dialect != "postgres" || p.Completion != Archive {
		return nil
	}
	return s.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		return makePartitions(ctx, tx, p.site.Plugin.Tables().History())
	})
}

func (h *housekeeper) makePartitions(ctx context.Context) (more bool, err error) {
	if h.dialect != "postgres" || h.completion != Archive {
		return false, nil
	}
	return false, h.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		return makePartitions(ctx, tx, h.site.Plugin.Tables().History())
	})
}

// makePartitions makes those that are missing, one worker at a time.
func makePartitions(ctx context.Context, tx *sql.Tx, history string) error {
	var now time.Time
	if err := tx.QueryRowContext(ctx, "SELECT clock_timestamp()").Scan(&now); err != nil {
		return err
	}
	today := now.UTC().Truncate(24 * time.Hour)
	locked := false
	for day := range daysAhead + 1 {
		from := today.AddDate(0, 0, day)
		name := history + from.Format("_20060102")
		attached := false
		for !attached {
			// By name, which this statement's snapshot sees: to_regclass may have
			// cached, in this transaction, that there is no such table.
			err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = to_regclass($1) AND relname = $2)",
				history, name[strings.LastIndexByte(name, '.')+1:]).Scan(&attached)
			if err != nil {
				return err
			}
			if attached || locked {
				break
			}
			locked = true // and look again
			if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", history); err != nil {
				return err
			}
		}
		if attached {
			continue
		}
		for _, ddl := range []string{
			fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (LIKE %s INCLUDING DEFAULTS)", name, history),
			fmt.Sprintf("ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM ('%s') TO ('%s')", history, name,
				from.Format("2006-01-02 15:04:05+00"), from.AddDate(0, 0, 1).Format("2006-01-02 15:04:05+00")),
		} {
			if _, err := tx.ExecContext(ctx, ddl); err != nil {
				return err
			}
		}
	}
	return nil
}

// partition is one that is to go.
type partition struct {
	name    string // quoted, with its schema
	pending bool   // its detach was interrupted
	marked  bool   // as ours to drop
}

// dropPartitions removes the partitions of which every entry is old enough. A
// table that somebody else detached is not touched: only what bears the mark
// goes, which is set before the detach.
func (h *housekeeper) dropPartitions(ctx context.Context) (more bool, err error) {
	if h.dialect != "postgres" || h.Retention == Forever {
		return false, nil
	}
	history := h.site.Plugin.Tables().History()
	mark := "expired: was a partition of " + history
	var expired []partition
	var version int
	err = h.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, "SELECT current_setting('server_version_num')::integer").Scan(&version)
		if err == nil {
			expired, err = h.expired(ctx, tx, history, mark)
		}
		return err
	})
	if err != nil {
		return false, err
	}
	for _, p := range expired {
		if err := h.detach(ctx, p, history, mark, version); err != nil {
			return false, errors.Join(h.blocked(ctx, history, p.name, err), h.dropDetached(ctx, mark))
		}
	}
	return false, h.dropDetached(ctx, mark)
}

// expired returns the partitions that are to go, an interrupted one first: no
// other can be detached before it.
func (h *housekeeper) expired(ctx context.Context, tx *sql.Tx, history, mark string) ([]partition, error) {
	rows, err := tx.QueryContext(ctx, h.q.partitions, history, h.q.ago(h.Retention), mark)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var found []partition
	for rows.Next() {
		var p partition
		var old sql.NullBool // NULL: no bound above
		if err := rows.Scan(&p.name, &old, &p.pending, &p.marked); err != nil {
			return nil, err
		}
		switch {
		case p.pending && p.marked:
			found = append([]partition{p}, found...)
		case !p.pending && old.Bool:
			found = append(found, p)
		}
	}
	return found, rows.Err()
}

// detach marks a partition and detaches it. PostgreSQL 13 can't do that
// concurrently: there, finishes wait for as long as the detach does, at most
// 50 ms, and it succeeds only when nobody reads the history.
func (h *housekeeper) detach(ctx context.Context, p partition, history, mark string, version int) error {
	if !p.marked {
		err := h.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, fmt.Sprintf("COMMENT ON TABLE %s IS '%s'", p.name, mark))
			return err
		})
		if err != nil {
			return err
		}
	}
	detach := fmt.Sprintf("ALTER TABLE %s DETACH PARTITION %s", history, p.name)
	if version < 140000 {
		return h.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, "SELECT set_config('lock_timeout', '50ms', true)"); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, detach)
			return err
		})
	}
	how := " CONCURRENTLY"
	if p.pending {
		how = " FINALIZE"
	}
	ctx, cancel := context.WithTimeout(ctx, detachTimeout)
	defer cancel()
	return h.outsideTx(ctx, detach+how)
}

// dropDetached drops what is marked and no partition any more.
func (h *housekeeper) dropDetached(ctx context.Context, mark string) error {
	type table struct {
		name  string
		bytes int64
	}
	var tables []table
	err := h.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, h.q.expired, mark)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		tables = nil
		for rows.Next() {
			var t table
			if err := rows.Scan(&t.name, &t.bytes); err != nil {
				return err
			}
			tables = append(tables, t)
		}
		return rows.Err()
	})
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range tables {
		begun := time.Now()
		err := h.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "DROP TABLE "+t.name)
			return err
		})
		if err != nil {
			errs = append(errs, h.blocked(ctx, t.name, t.name, err))
			continue
		}
		h.site.Plugin.Monitor().Publish(&reliable.HistoryPruned{Worker: h.site.Worker, Table: t.name, Bytes: t.bytes, Took: time.Since(begun)})
	}
	return errors.Join(errs...)
}

// blocked says who reads what a partition could not be taken from.
func (h *housekeeper) blocked(ctx context.Context, table, name string, cause error) error {
	var pid int
	var application, state string
	err := h.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, h.q.readers, table, name).Scan(&pid, &application, &state)
	})
	if err != nil { // nobody: it was something else
		return fmt.Errorf("%s: %w", name, cause)
	}
	return fmt.Errorf("%s stays until session %d (application %q, %s) ends its transaction: %w", name, pid, application, state, cause)
}
