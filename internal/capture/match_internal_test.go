package capture

import (
	"strconv"
	"testing"
)

// Rows that a write returns have no order: old and new values of a row are
// brought together by its key.
func TestPairByKey(t *testing.T) {
	columns := []string{"id", "v"}
	before := &table{columns: columns, rows: [][]any{{int64(1), "a"}, {int64(2), "b"}, {int64(3), "c"}}}
	after := &table{columns: columns, rows: [][]any{{int64(3), "C"}, {int64(1), "A"}, {int64(2), "B"}}}
	keys := func(tab *table) (texts []string) {
		for _, row := range tab.rows {
			texts = append(texts, strconv.FormatInt(row[0].(int64), 10))
		}
		return texts
	}
	rows, err := pair(before, after, keys(before), keys(after), false)
	if err != nil || len(rows) != 3 {
		t.Fatalf("pair() = %v, %v, want three rows", rows, err)
	}
	for _, row := range rows {
		if row.OldUnknown || row.Old == nil || row.Old[0] != row.New[0] {
			t.Errorf("pair() has new values %v with old ones %v, want those of the same key", row.New, row.Old)
		}
	}
	find, err := match(before, after, [][]string{{"id"}})
	if err != nil {
		t.Fatal(err)
	}
	for i, row := range after.rows {
		if old := find(i); old == nil || old[0] != row[0] {
			t.Errorf("match() gives %v for %v, want the row of the same key", old, row)
		}
	}
}
