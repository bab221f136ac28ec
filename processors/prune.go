package processors

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// What is done and old goes by batches that are short, with pauses between them
// that are longer than the batches: others have the database for four fifths of
// the time. A round ends after a while; the next one goes on.
const (
	mostRows    = 500                   // of a batch
	longBatch   = 25 * time.Millisecond // the next one is half as big
	pauseShare  = 4                     // of a batch's time
	pruneWithin = 20 * time.Second      // of a round
)

func (h *housekeeper) pruneHistory(ctx context.Context) (more bool, err error) {
	if h.dialect == "postgres" { // partitions are dropped
		return false, nil
	}
	return h.prune(ctx, h.site.Plugin.Tables().History(), h.q.pruneHistory)
}

// pruneKept deletes done entries where they stayed, also when the workers don't
// keep them any more. Without the index there are none.
func (h *housekeeper) pruneKept(ctx context.Context) (more bool, err error) {
	there, err := h.isIndexed(ctx)
	if err != nil || !there {
		return false, err
	}
	return h.prune(ctx, h.site.Plugin.Tables().Entries(), h.q.pruneKept)
}

// prune deletes batch by batch. It reports whether there is more to delete.
func (h *housekeeper) prune(ctx context.Context, table, query string) (more bool, err error) {
	if h.Retention == Forever {
		return false, nil
	}
	begun := time.Now()
	var deleted int64
	defer func() {
		if deleted > 0 {
			h.site.Plugin.Monitor().Publish(&reliable.HistoryPruned{Worker: h.site.Worker, Table: table, Rows: deleted, Took: time.Since(begun)})
		}
	}()
	for limit := mostRows; ; {
		var rows int64
		sent := time.Now()
		err := h.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
			result, err := tx.ExecContext(ctx, query, h.q.ago(h.Retention), limit)
			if err != nil {
				return err
			}
			rows, err = result.RowsAffected()
			return err
		})
		if err != nil {
			return false, err
		}
		deleted += rows
		took := time.Since(sent)
		switch {
		case rows < int64(limit):
			return false, nil
		case time.Since(begun) > pruneWithin:
			return true, nil
		case took > longBatch:
			limit = max(limit/2, 10)
		default:
			limit = min(2*limit, mostRows)
		}
		pause := time.NewTimer(pauseShare * took)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return true, nil
		}
	}
}

// smallTable is how big outbox_entries may be for an index to be made in
// passing: while it is, writes wait.
const smallTable = 64 << 20

// indexKept makes the indexes without which done entries that stay would slow
// down claims and pruning. Workers that don't keep entries do without: writes
// would pay for them.
func (h *housekeeper) indexKept(ctx context.Context) (more bool, err error) {
	if h.completion != Keep {
		return false, nil
	}
	there, err := h.isIndexed(ctx)
	if err != nil || there {
		return false, err
	}
	return false, h.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var bytes int64
		if h.q.entriesSize != "" {
			if err := tx.QueryRowContext(ctx, h.q.entriesSize).Scan(&bytes); err != nil {
				return err
			}
		}
		for _, index := range h.q.keptIndexes {
			if bytes > smallTable {
				return fmt.Errorf("%s has %d MB, too much to index it in passing: run this, on PostgreSQL with CONCURRENTLY: %s", h.site.Plugin.Tables().Entries(), bytes>>20, index.create)
			}
			if _, err := tx.ExecContext(ctx, index.create); err != nil {
				return err
			}
		}
		return nil
	})
}

// isIndexed reports whether the indexes of kept entries are there.
func (h *housekeeper) isIndexed(ctx context.Context) (bool, error) {
	found := 0
	err := h.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		found = 0
		for _, index := range h.q.keptIndexes {
			var n int
			if err := tx.QueryRowContext(ctx, index.exists).Scan(&n); err != nil {
				return err
			}
			found += min(n, 1)
		}
		return nil
	})
	return found == len(h.q.keptIndexes), err
}
