package matrix_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// documentPath is the published matrix.
const documentPath = "../../docs/capture.md"

var update = flag.Bool("update", false, "write docs/capture.md")

// outcome is what became of a write path's rows on one database.
type outcome string

const (
	captured   outcome = "captured"
	oldUnknown outcome = "captured, old unknown"
	refused    outcome = "refused"
	notSeen    outcome = "not seen"
	nothing    outcome = "nothing changes"
	impossible outcome = "–"
	untried    outcome = "?"
)

// platforms are the columns of the page.
var platforms = []string{"PostgreSQL 13–17", "PostgreSQL 18", "MariaDB", "SQLite"}

// platform returns the column of the lab's database.
func (l *lab) platform(t *testing.T) string {
	t.Helper()
	switch l.dialect {
	case testdb.MySQL:
		return platforms[2]
	case testdb.SQLite:
		return platforms[3]
	}
	var text string
	if err := l.plain.Raw("SHOW server_version_num").Scan(&text).Error; err != nil {
		t.Fatal(err)
	}
	if version, err := strconv.Atoi(text); err != nil || version >= 180000 {
		return platforms[1]
	}
	return platforms[0]
}

// document is what the page says, by write path and platform. A run has only
// some of the platforms: it checks, or writes, their cells.
type document struct {
	published string

	mu    sync.Mutex
	cells map[string]map[string]outcome
	seen  map[string]int // cells of this run, by platform
}

// readDocument reads the cells that are published.
func readDocument(t *testing.T) *document {
	t.Helper()
	text, err := os.ReadFile(documentPath)
	if err != nil {
		t.Fatal(err)
	}
	d := &document{published: string(text), cells: make(map[string]map[string]outcome), seen: make(map[string]int)}
	for line := range strings.Lines(d.published) {
		cells := strings.Split(line, "|")
		if len(cells) != len(platforms)+4 {
			continue
		}
		row := make(map[string]outcome)
		for i, p := range platforms {
			row[p] = outcome(strings.TrimSpace(cells[i+2]))
		}
		d.cells[strings.TrimSpace(cells[1])] = row
	}
	return d
}

func (d *document) note(name, platform string, o outcome) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cells[name] == nil {
		d.cells[name] = make(map[string]outcome)
	}
	d.cells[name][platform] = o
	d.seen[platform]++
}

// check holds the page against what was seen. A filter of go test leaves some
// of the paths out: then there is nothing to check.
func (d *document) check(t *testing.T) {
	if t.Failed() {
		return
	}
	want := make(map[string]int)
	for _, g := range groups() {
		for _, s := range g.scenarios {
			for i, dialect := range []testdb.Dialect{testdb.Postgres, testdb.Postgres, testdb.MySQL, testdb.SQLite} {
				if s.only == nil || slices.Contains(s.only, dialect) {
					want[platforms[i]]++
				}
			}
		}
	}
	for platform, n := range d.seen {
		if n != want[platform] {
			return
		}
	}
	got := d.render()
	if *update {
		if err := os.WriteFile(documentPath, []byte(got), 0o644); err != nil { //nolint:gosec // it is published
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(d.published, got); diff != "" {
		t.Errorf("docs/capture.md is stale: go test ./internal/matrix -update\n-published +seen\n%s", diff)
	}
}

const head = `# Which writes are captured

Written by the test in internal/matrix, which runs each write path with and without the plugin: in sessions with and without default
transactions, with prepared statements and with translated errors, and inside reliable.Transaction.

- **captured**: one entry per row that changed, of the right kind, with the old and new values that row triggers saw, in their order. The writer
  sees the same rows affected, error, model and tables as without the plugin. This holds for every row of this page but those below.
  Rows that RETURNING gives back have no order in SQL, and may come in another one.
- **captured, old unknown**: the same, but the values before the write could not be had. The entry says so, and never guesses.
- **refused**: an error, and nothing is written; it names the model or table, the operation and the way out. With Config.AllowUncaptured what
  has no model or no key goes through and is not seen; what a limit or the database stands in the way of is refused all the same.
- **not seen**: the write goes through and leaves no entry, or not for all its rows; the reason is in the last column.
- **nothing changes**: no row changes, and there is no entry. Most of these are errors that GORM or the database gives without the plugin, too.
- **–**: it can't be done there.

Row-level security on PostgreSQL: a captured write returns its rows, so policies for SELECT hold for it, as they do for any write whose
condition reads a column. Where they hide rows, a write without such a condition (WHERE 1 = 1) leaves those alone that it would reach
without the plugin, and an INSERT of a row that they hide is an error. Give the condition a column, or opt out.

Upserts on MariaDB: of a row that another session inserts between the plugin's read and the upsert (at READ COMMITTED), or that conflicts
by a unique key that the model does not tell, the old values are unknown. On SQLite an upsert that sets the primary key is refused if no
other unique key of the model tells which row it was, or if it inserts several rows.
`

func (d *document) render() string {
	var b strings.Builder
	b.WriteString(head)
	for _, g := range groups() {
		fmt.Fprintf(&b, "\n## %s\n\n| write path | %s | why |\n|%s\n", g.title, strings.Join(platforms, " | "), strings.Repeat(" --- |", len(platforms)+2))
		for _, s := range g.scenarios {
			fmt.Fprintf(&b, "| %s |", s.name)
			for i, dialect := range []testdb.Dialect{testdb.Postgres, testdb.Postgres, testdb.MySQL, testdb.SQLite} {
				cell := impossible
				if s.only == nil || slices.Contains(s.only, dialect) {
					if cell = d.cells[s.name][platforms[i]]; cell == "" {
						cell = untried
					}
				}
				fmt.Fprintf(&b, " %s |", cell)
			}
			fmt.Fprintf(&b, " %s |\n", s.why)
		}
	}
	return b.String()
}
