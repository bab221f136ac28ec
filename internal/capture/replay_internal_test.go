package capture

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"testing"

	"go.uber.org/goleak"
)

// Rows are replayed with the error that ended them; it ends no others, not even
// if it tells of a broken connection, and no goroutine stays.
func TestReplay(t *testing.T) {
	running := goleak.IgnoreCurrent()
	defer func() { goleak.VerifyNone(t, running) }()
	var r replayer
	broken := replayTable()
	broken.err = driver.ErrBadConn
	for range 3 {
		for _, replayed := range []*table{replayTable(), broken} {
			err := r.each(replayed, func(id int64) error {
				sum := int64(0) // of others, at the same time
				if err := r.each(replayTable(), func(other int64) error { sum += other; return nil }); err != nil || sum != 15 {
					return fmt.Errorf("row %d: others: %d, %w, want 15", id, sum, err)
				}
				return nil
			})
			if !errors.Is(err, replayed.err) {
				t.Errorf("replay() ends with %v, want %v", err, replayed.err)
			}
		}
	}
}

// each replays a table of ids.
func (r *replayer) each(t *table, f func(id int64) error) (err error) {
	rows, err := r.replay(t)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var id int64
		if err := errors.Join(rows.Scan(&id), f(id)); err != nil {
			return err
		}
	}
	return rows.Err()
}

func replayTable() *table {
	return &table{columns: []string{"id"}, types: []columnType{{name: "int8"}}, rows: [][]any{{int64(7)}, {int64(8)}}}
}

// A write whose rows GORM asked for costs one replay.
func BenchmarkReplay(b *testing.B) {
	var r replayer
	t := replayTable()
	b.ReportAllocs()
	for b.Loop() {
		if err := r.each(t, func(int64) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
