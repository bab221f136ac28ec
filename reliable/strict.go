package reliable

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"gorm.io/gorm"
)

// strictClass is the first half of the advisory locks that StrictOrder takes
// on PostgreSQL: "acso". The second is a hash of the key.
const strictClass = 0x6163736f

// KeyLockSlots is how many rows the table outbox_key_locks has. Keys that share
// one wait for each other, and nothing else.
const KeyLockSlots = 1024

// lockKeys locks the causality keys of the rows that want it until the end of
// tx, in one order for all writers: an id drawn after that follows those of
// the key that are committed.
func (p *Plugin) lockKeys(ctx context.Context, tx *gorm.DB, rows []row) error {
	keys := make(map[uint32]bool)
	for i := range rows {
		if rows[i].strict && rows[i].key != "" {
			sum := sha256.Sum256([]byte(p.cfg.Tables.Entries() + "\x00" + rows[i].key))
			keys[binary.BigEndian.Uint32(sum[:])] = true
		}
	}
	if len(keys) == 0 {
		return nil
	}
	var query, list string
	var args []any
	switch tx.Name() {
	case "postgres":
		list = numbers(keys, func(key uint32) int64 { return int64(int32(key)) }) //nolint:gosec // all bits count
		query, args = fmt.Sprintf("SELECT pg_advisory_xact_lock(%d, key) FROM unnest($1::int[]) AS key", strictClass), []any{"{" + list + "}"}
	case "mysql":
		list = numbers(keys, func(key uint32) int64 { return int64(key % KeyLockSlots) })
		query = fmt.Sprintf("SELECT slot FROM %s WHERE slot IN (%s) ORDER BY slot FOR UPDATE", tx.Statement.Quote(p.cfg.Tables.KeyLocks()), list)
	default: // SQLite: an id is drawn under the write lock, which ends with the transaction
		return nil
	}
	n, err := countRows(ctx, tx.Statement.ConnPool, query, args...)
	if want := 1 + strings.Count(list, ","); err == nil && n != want {
		err = fmt.Errorf("%d of %d locks are there: call migrations.Up(ctx, db)", n, want)
	}
	if err != nil {
		return fmt.Errorf("lock causality keys: %w", err)
	}
	return nil
}

// countRows runs a query and returns how many rows it gave.
func countRows(ctx context.Context, pool gorm.ConnPool, query string, args ...any) (n int, err error) {
	rows, err := pool.QueryContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		n++
	}
	return n, rows.Err()
}

// numbers returns what lock makes of the keys, sorted, without duplicates, as
// "1,2,3".
func numbers(keys map[uint32]bool, lock func(uint32) int64) string {
	locks := make(map[int64]bool, len(keys))
	for key := range keys {
		locks[lock(key)] = true
	}
	var b strings.Builder
	for i, n := range slices.Sorted(maps.Keys(locks)) {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatInt(n, 10))
	}
	return b.String()
}
