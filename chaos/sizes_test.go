package chaos_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/chaos"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// small is a round of CI's size.
func TestRound(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		s := size{entries: 2500, workers: 3, producers: 2, budget: time.Minute, faults: chaos.Faults{
			chaos.Kill: 8, chaos.Stop: 2, chaos.Term: 3, chaos.KillDatabase: 1, chaos.Cut: 12, chaos.Unheard: 8, chaos.KillProducer: 2,
		}}
		if d == testdb.SQLite {
			s.workers, s.producers = 2, 1
			s.faults = chaos.Faults{chaos.Kill: 5, chaos.Stop: 1, chaos.Term: 2, chaos.KillProducer: 1}
		}
		newRound(t, d, *seed, s).run(t)
	})
}

// row is a row of the table that a round prints.
func (r *round) row(report *chaos.Report, h *chaos.History) string {
	sums := make(map[int]int)
	again := 0
	for _, n := range report.Duplicates {
		sums[n]++
		again += n
	}
	histogram := ""
	for _, n := range slices.Sorted(maps.Keys(sums)) {
		histogram += fmt.Sprintf(" %d×%d", sums[n], n)
	}
	cuts := 0
	if r.proxy != nil {
		cuts = r.proxy.Cuts()
	}
	return fmt.Sprintf("%d entries · %d SIGKILL · %d SIGSTOP · %d SIGTERM · %d database kills · %d cuts · %d applications killed · lost %d · phantom %d · overlaps %d · "+
		"ran again %d (causes × entries:%s; at most %d each) · took %.0f s · seed %d",
		report.Entries, h.Fault["kill"], h.Fault["stop"], h.Fault["term"], h.Fault["database"], cuts, h.Fault["producer"], report.Lost, report.Phantom, report.Overlaps,
		again, histogram, chaos.Bound, time.Since(r.begun).Seconds(), r.seed)
}
