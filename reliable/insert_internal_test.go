package reliable

import (
	"encoding/json"
	"strings"
	"testing"
)

// An INSERT takes no more rows and bytes than every database does in one
// statement, but always one row.
func TestChunk(t *testing.T) {
	text := func(bytes int) json.RawMessage { return json.RawMessage(strings.Repeat("x", bytes)) }
	for _, c := range []struct {
		name string
		rows []row
		want int
	}{
		{"few", make([]row, 3), 3},
		{"full", make([]row, insertRows), insertRows},
		{"many", make([]row, insertRows+1), insertRows},
		{"large", []row{{changeset: text(insertBytes / 2)}, {arguments: text(insertBytes / 4), headers: text(insertBytes / 4)}, {headers: text(1)}}, 2},
		{"huge", []row{{changeset: text(insertBytes + 1)}, {}}, 1},
	} {
		if got := chunk(c.rows); got != c.want {
			t.Errorf("%s: chunk() = %d, want %d", c.name, got, c.want)
		}
	}
}
