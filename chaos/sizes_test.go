package chaos_test

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/gorm-aftercommit/aftercommit/chaos"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

var (
	push    = flag.Bool("push", false, "TestRound and TestOrderedRound in the size of make chaos, ten minutes and five at most")
	minutes = flag.Int("minutes", 0, "TestRound goes on for so many minutes, with one seed after the other")
)

// sizes returns how much a round is on each database: two minutes for all of
// them, or ten.
func sizes() map[testdb.Dialect]size {
	if !*push {
		return map[testdb.Dialect]size{
			testdb.Postgres: {2500, 3, 2, chaos.Faults{
				chaos.Kill: 8, chaos.Stop: 2, chaos.Term: 3, chaos.KillDatabase: 1, chaos.Cut: 12, chaos.Unheard: 8, chaos.KillProducer: 2,
			}, 45 * time.Second},
			testdb.MySQL: {2000, 3, 2, chaos.Faults{
				chaos.Kill: 6, chaos.Stop: 2, chaos.Term: 2, chaos.KillDatabase: 1, chaos.Cut: 6, chaos.Unheard: 4, chaos.KillProducer: 1,
			}, 45 * time.Second},
			testdb.SQLite: {1500, 2, 1, chaos.Faults{chaos.Kill: 4, chaos.Stop: 1, chaos.Term: 2, chaos.KillProducer: 1}, 30 * time.Second},
		}
	}
	return map[testdb.Dialect]size{
		testdb.Postgres: {30_000, 4, 2, chaos.Faults{
			chaos.Kill: 50, chaos.Stop: 10, chaos.Term: 10, chaos.KillDatabase: 3, chaos.Cut: 60, chaos.Unheard: 40, chaos.KillProducer: 5,
		}, 5 * time.Minute},
		testdb.MySQL: {8_000, 3, 2, chaos.Faults{
			chaos.Kill: 15, chaos.Stop: 3, chaos.Term: 5, chaos.KillDatabase: 2, chaos.Cut: 18, chaos.Unheard: 12, chaos.KillProducer: 3,
		}, 90 * time.Second},
		testdb.SQLite: {8_000, 2, 1, chaos.Faults{chaos.Kill: 15, chaos.Stop: 3, chaos.Term: 5, chaos.KillProducer: 3}, time.Minute},
	}
}

// Random kills, stops, terminations and cuts, of workers, applications and the
// database: nothing is lost or invented, nothing overlaps, little runs again
// (10, 11, 15, 48).
func TestRound(t *testing.T) {
	var all table
	defer func() { t.Log(all.String()) }()
	over := time.Now().Add(time.Duration(*minutes) * time.Minute)
	for number := *seed; ; number++ {
		testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
			newRound(t, d, number, sizes()[d]).run(t, &all)
		})
		if t.Failed() || !time.Now().Before(over) {
			return
		}
	}
}

// table is what the rounds print.
type table [][]string

// add adds a round.
func (all *table) add(database string, r *round, report *chaos.Report, h *chaos.History) {
	kills, leases := make([]int, 0, len(h.Exits)), make([]int, 0, len(report.Duplicates))
	for cause, n := range report.Duplicates {
		if strings.HasSuffix(cause, "killed") {
			kills = append(kills, n)
		} else {
			leases = append(leases, n)
		}
	}
	for range h.Fault[string(chaos.Kill)] - int64(len(kills)) { // those that cost nothing
		kills = append(kills, 0)
	}
	cuts := 0
	if r.proxy != nil {
		cuts = r.proxy.Cuts()
	}
	row := []string{database}
	for _, n := range []any{
		report.Entries, h.Fault[string(chaos.Kill)], h.Fault[string(chaos.Stop)], h.Fault[string(chaos.Term)], h.Fault[string(chaos.KillDatabase)], cuts,
		h.Fault[string(chaos.KillProducer)], report.Lost, report.Phantom, report.Overlaps, histogram(kills), histogram(leases), report.Terminated,
		time.Since(r.begun).Round(time.Second), r.seed,
	} {
		row = append(row, fmt.Sprint(n))
	}
	*all = append(*all, row)
}

// histogram says how many causes had how many entries run again.
func histogram(counts []int) string {
	causes := make(map[int]int)
	for _, n := range counts {
		causes[n]++
	}
	text := make([]string, 0, len(causes))
	for _, n := range slices.Sorted(maps.Keys(causes)) {
		text = append(text, fmt.Sprintf("%d:%d", n, causes[n]))
	}
	return strings.Join(text, " ")
}

// String returns the table, to be read.
func (all *table) String() string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "lost, phantom, overlaps, after SIGTERM: want 0. Ran again, as entries:causes, at most %d entries per cause\n", chaos.Bound)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "database\tentries\tSIGKILL\tSIGSTOP\tSIGTERM\tdb kills\tcuts\tapps killed\tlost\tphantom\toverlaps\tagain after SIGKILL\tafter lost leases\tafter SIGTERM\ttook\tseed")
	for _, row := range *all {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	_ = w.Flush() // to memory
	return b.String()
}
