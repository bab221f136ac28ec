package capture

import (
	"database/sql/driver"
	"errors"
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
			rows, err := r.replay(replayed)
			if err != nil {
				t.Fatal(err)
			}
			other, err := r.replay(replayTable()) // at the same time
			if err != nil {
				t.Fatal(err)
			}
			var ids []int64
			for rows.Next() && other.Next() {
				var id, same int64
				if err := errors.Join(rows.Scan(&id), other.Scan(&same)); err != nil || id != same {
					t.Fatalf("Scan() = %d and %d, %v, want the same", id, same, err)
				}
				ids = append(ids, id)
			}
			if err := rows.Err(); !errors.Is(err, replayed.err) || len(ids) != 2 {
				t.Errorf("replay() = %v, %v, want 7 and 8, %v", ids, err, replayed.err)
			}
			if err := errors.Join(rows.Close(), other.Close(), other.Err()); err != nil {
				t.Error(err)
			}
		}
	}
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
		rows, err := r.replay(t)
		if err != nil {
			b.Fatal(err)
		}
		for rows.Next() {
			var id int64
			if err := rows.Scan(&id); err != nil {
				b.Fatal(err)
			}
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			b.Fatal(err)
		}
	}
}
