package matrix_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// row is what a cell of the matrix came to.
type row struct {
	cell     string
	again    int
	repeated int
	took     time.Duration
}

// A worker is killed at every point, on every database, while another works
// beside it: nothing is lost, nothing is there that should not be, what runs
// again is no more than it says, under a higher token, and nobody is blamed.
func TestMatrix(t *testing.T) {
	var mu sync.Mutex
	var rows []row
	t.Run("cells", func(t *testing.T) {
		for _, c := range cells() {
			for _, d := range []testdb.Dialect{testdb.Postgres, testdb.MySQL, testdb.SQLite} {
				if c.only != "" && d != c.only || d == c.not {
					continue
				}
				t.Run(c.point+" "+d.String()+c.way.String(), func(t *testing.T) {
					t.Parallel()
					begun := time.Now()
					s := newScene(t, d, c.way.is(transacts), c.way.env()...)
					s.play(t, c)
					again, repeated := s.check(t, c)
					mu.Lock()
					defer mu.Unlock()
					rows = append(rows, row{fmt.Sprintf("%-22s %s%s", c.point, d, c.way), again, repeated, time.Since(begun)})
				})
			}
		}
	})
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.cell, b.cell) })
	var table strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&table, "%-44s %d ran again, %d of them to the end; %s\n", r.cell, r.again, r.repeated, r.took.Round(100*time.Millisecond))
	}
	t.Logf("\n%s", &table)
}

// play lets one worker die at the cell's point, another do the rest.
func (s *scene) play(t *testing.T, c cell) {
	t.Helper()
	if c.way.is(rescuing) {
		s.commit(t, 10)
		first := s.start(t, "callback.after:2", threads, group)
		until(t, "the first worker dies", func() bool { return first.dead(t) })
	}
	s.commit(t, 5) // with the one that fails, which the first claim takes
	var dying *process
	if c.way.is(draining) {
		dying = s.drain(t, c.point, threads, group)
	} else {
		dying = s.start(t, c.point, threads, group)
	}
	if c.way.is(draining | rescuing | failing) { // alone, or the other might take what it needs
		until(t, "the worker dies", func() bool { return dying.dead(t) })
	}
	until(t, "the worker is there", func() bool { return s.count(t, "outbox_workers") > 0 || dying.dead(t) })
	other := s.start(t, "", threads, group)
	for round := 0; !dying.dead(t); round++ {
		if round == 50 {
			t.Fatalf("the worker does not come by %s", c.point)
		}
		s.commit(t, 20)
		until(t, "this work is done, or the worker dead", func() bool { return dying.dead(t) || s.count(t, "outbox_entries") == 0 })
	}
	until(t, "the other worker does the rest", func() bool { return s.count(t, "outbox_entries WHERE dead_at IS NULL") == 0 })
	until(t, "the other worker is the only one left", func() bool { return s.count(t, "outbox_workers") == 1 })
	other.stop(t)
}

// check holds the promise against ledger and tables.
func (s *scene) check(t *testing.T, c cell) (again, repeated int) {
	t.Helper()
	v := s.verdict(t)
	bad := 0
	if c.way.is(failing) {
		bad = 1
	}
	if v.Ended != 2*s.orders || len(v.Faults) > 0 {
		t.Errorf("%d callbacks ended, faults %q; want %d, none", v.Ended, v.Faults, 2*s.orders)
	}
	if n := len(v.Again); n < c.least || n > c.most {
		t.Errorf("entries %v ran again, want %d to %d", v.Again, c.least, c.most)
	}
	for from, want := range map[string]int{
		"outbox_history": s.orders - bad, "outbox_entries": bad, "outbox_claims": 0, "outbox_workers": 0,
		"outbox_history WHERE attempts > 0 OR crashes > 0 OR error_class IS NOT NULL": 0,
		"outbox_entries WHERE dead_at IS NOT NULL AND attempts = 1 AND crashes = 0":   bad,
		"(SELECT id FROM outbox_history GROUP BY id) AS h":                            s.orders - bad,
	} {
		if n := s.count(t, from); n != want {
			t.Errorf("%d rows in %s, want %d", n, from, want)
		}
	}
	if c.way.is(ordered) {
		for _, fault := range v.Disorders {
			t.Error(fault)
		}
	}
	if c.way.is(transacts) {
		if all, orders := s.count(t, "effects"), s.count(t, "(SELECT order_id FROM effects GROUP BY order_id) AS e"); all != s.orders || orders != s.orders {
			t.Errorf("%d effects of %d orders, want one of each of %d", all, orders, s.orders)
		}
	}
	return len(v.Again), len(v.Repeated)
}

// Every point at which a worker can die is in the matrix; those of applications
// are in the tests of package chaos.
func TestEveryFailpointIsTried(t *testing.T) {
	tried := make(map[string]bool)
	for _, c := range cells() {
		name, _, _ := strings.Cut(c.point, ":")
		tried[name] = true
	}
	capture, err := os.ReadFile("../capture_test.go")
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool)
	call := regexp.MustCompile(`failpoint\.Hit\("([^"]+)"\)`)
	err = filepath.WalkDir("../..", func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, hit := range call.FindAllSubmatch(text, -1) {
			name := string(hit[1])
			found[name] = true
			if !tried[name] && !strings.Contains(string(capture), `"`+name+`"`) {
				t.Errorf("%s: failpoint %q is in no test: add a cell", path, name)
			}
		}
		return err
	})
	if err != nil || len(found) < 20 {
		t.Fatalf("%d failpoints, %v; want all of the code's", len(found), err)
	}
	for name := range tried {
		if !found[name] {
			t.Errorf("the matrix has failpoint %q, the code has not", name)
		}
	}
}
