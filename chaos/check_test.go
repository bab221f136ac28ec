package chaos_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gorm-aftercommit/aftercommit/chaos"
)

// book is a ledger made by hand. Times are milliseconds; a lease is 1000 long.
type book strings.Builder

func (b *book) line(kind string, at, worker int, fields ...any) *book {
	text := fmt.Sprintf("%s %d %d", kind, at*1_000_000, worker)
	for _, f := range fields {
		text += fmt.Sprint(" ", f)
	}
	(*strings.Builder)(b).WriteString("\n" + text + " .\n")
	return b
}

func (b *book) beat(worker, sent int) *book { return b.line("beat", sent+1, worker, sent*1_000_000) }

func (b *book) claim(at, worker, token int, ids string) *book {
	return b.line("claiming", at-1, worker).line("claim", at, worker, token, (at-1)*1_000_000, ids)
}

// run is a run of a callback that ends well, or "failed", or has no end ("").
func (b *book) run(from, to, worker, token, entry int, callback string, attempt int, result string) *book {
	b.line("start", from, worker, token, entry, callback, attempt, 7)
	if result == "" {
		return b
	}
	return b.line("end", to, worker, token, entry, callback, attempt, result)
}

func (b *book) finish(at, worker, token int, ids string) *book {
	return b.line("finishing", at, worker, token, ids).line("finished", at+1, worker, token, ids)
}

func (b *book) exit(at, worker int, how string) *book { return b.line("exit", at, worker, how) }

func (b *book) read(t *testing.T) *chaos.History {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger")
	if err := os.WriteFile(path, []byte((*strings.Builder)(b).String()), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := chaos.ReadLedger(path)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func finished(id int64) chaos.EntryFact {
	return chaos.EntryFact{ID: id, Owed: []string{"ship"}, Done: true}
}

// Each invariant is broken by hand, and must be seen to be.
func TestCheck(t *testing.T) {
	alive := func() *book { return new(book).beat(1, 0).beat(2, 0) }
	killed := func() *book { // worker 1 ran entry 5, and was killed
		return alive().claim(10, 1, 100, "5").run(20, 0, 1, 100, 5, "ship", 1, "").exit(50, 1, "killed").beat(2, 900)
	}
	tests := []struct {
		name    string
		book    *book
		entries []chaos.EntryFact
		faults  []string // how they begin
		again   int
	}{
		{
			"in order", alive().claim(10, 1, 100, "5,6").run(20, 30, 1, 100, 5, "ship", 1, "ok").run(30, 40, 1, 100, 6, "ship", 1, "ok").finish(50, 1, 100, "5,6").exit(60, 1, "clean"),
			[]chaos.EntryFact{finished(5), finished(6)},
			nil, 0,
		},
		{
			"again after a kill", killed().claim(1100, 2, 101, "5").run(1110, 1120, 2, 101, 5, "ship", 1, "ok").finish(1130, 2, 101, "5"),
			[]chaos.EntryFact{finished(5)},
			nil, 1,
		},
		{
			"again after a lost lease", alive().claim(10, 1, 100, "5").run(20, 4000, 1, 100, 5, "ship", 1, "ok").beat(2, 900).
				claim(1100, 2, 101, "5").run(1110, 1120, 2, 101, 5, "ship", 1, "ok").finish(1130, 2, 101, "5").beat(1, 3900),
			[]chaos.EntryFact{finished(5)},
			nil, 1,
		},
		{
			"again after a failure", alive().claim(10, 1, 100, "5").run(20, 30, 1, 100, 5, "ship", 1, "failed").line("finishing", 40, 1, 100, 5).
				claim(60, 2, 101, "5").run(70, 80, 2, 101, 5, "ship", 2, "ok").finish(90, 2, 101, "5"),
			[]chaos.EntryFact{{ID: 5, Owed: []string{"ship"}, Done: true, Attempts: 1}},
			nil, 0,
		},
		{
			"I1 ran without an entry", alive().claim(10, 1, 100, "5").run(20, 30, 1, 100, 5, "ship", 1, "ok").finish(40, 1, 100, "5"),
			nil,
			[]string{"I1: ship ran for entry 5"},
			0,
		},
		{"I2 left behind", alive(), []chaos.EntryFact{{ID: 5}}, []string{"I2: entry 5 is neither"}, 0},
		{"I2 done without a run", alive(), []chaos.EntryFact{finished(5)}, []string{"I2: entry 5 is done, but ship"}, 0},
		{
			"I2 done though it failed", alive().claim(10, 1, 100, "5").run(20, 30, 1, 100, 5, "ship", 1, "failed").finish(40, 1, 100, "5"),
			[]chaos.EntryFact{finished(5)},
			[]string{"I2: entry 5 is done, but ship"},
			0,
		},
		{
			"I4 overlap", alive().claim(10, 1, 100, "5").run(20, 300, 1, 100, 5, "ship", 1, "ok").line("finishing", 50, 1, 100, "5").
				claim(100, 2, 101, "5").run(110, 120, 2, 101, 5, "ship", 1, "ok"),
			[]chaos.EntryFact{finished(5)},
			[]string{"I4: entry 5 ran", "I5: ship ran again for entry 5"},
			0,
		},
		{
			"I4 two hold it", alive().claim(10, 1, 100, "5").claim(20, 2, 101, "5").run(30, 40, 2, 101, 5, "ship", 1, "ok"),
			[]chaos.EntryFact{finished(5)},
			[]string{"I4: entry 5 was claimed under token 101"},
			0,
		},
		{
			"I4 too early after a kill", killed().claim(400, 2, 101, "5").run(410, 420, 2, 101, 5, "ship", 1, "ok"),
			[]chaos.EntryFact{finished(5)},
			[]string{"I4: entry 5 was claimed"},
			1,
		},
		{
			"I4 a renewed lease", alive().beat(1, 800).claim(10, 1, 100, "5").run(20, 4000, 1, 100, 5, "ship", 1, "ok").beat(2, 900).
				claim(1100, 2, 101, "5").run(1110, 1120, 2, 101, 5, "ship", 1, "ok").beat(1, 3900),
			[]chaos.EntryFact{finished(5)},
			[]string{"I4: entry 5 was claimed", "I4: entry 5 ran"},
			1,
		},
		{
			"I4 without a claim", alive().claim(10, 1, 100, "6").run(20, 30, 1, 100, 5, "ship", 1, "ok"),
			[]chaos.EntryFact{finished(5)},
			[]string{"I4: worker 1 ran entry 5 under token 100 without"},
			0,
		},
		{
			"I4 twice under one token", alive().claim(10, 1, 100, "5").run(20, 40, 1, 100, 5, "ship", 1, "ok").run(30, 50, 1, 100, 5, "bill", 1, "ok"),
			[]chaos.EntryFact{finished(5)},
			[]string{"I4: entry 5 ran"},
			0,
		},
		{
			"I5 for no reason", alive().claim(10, 1, 100, "5").run(20, 30, 1, 100, 5, "ship", 1, "ok").line("finishing", 40, 1, 100, 5).
				claim(60, 2, 101, "5").run(70, 80, 2, 101, 5, "ship", 1, "ok"),
			[]chaos.EntryFact{finished(5)},
			[]string{"I5: ship ran again for entry 5"},
			0,
		},
		{
			"I5 after SIGTERM", alive().claim(10, 1, 100, "5").run(20, 30, 1, 100, 5, "ship", 1, "ok").line("releasing", 40, 1, 100, 5).exit(45, 1, "clean").
				claim(60, 2, 101, "5").run(70, 80, 2, 101, 5, "ship", 1, "ok"),
			[]chaos.EntryFact{finished(5)},
			[]string{"I5: ship ran again for entry 5 under token 101: worker 1, which ended clean"},
			0,
		},
		{
			"I5 done is done", killed().finish(40, 1, 100, "5").claim(1100, 2, 101, "5").run(1110, 1120, 2, 101, 5, "ship", 1, "ok"),
			[]chaos.EntryFact{finished(5)},
			[]string{"I5: ship ran for entry 5 under token 101 at 1110000000, after it was durably done"},
			1,
		},
		{
			"I5 too many", alive().claim(10, 1, 100, "5,6,7").run(20, 25, 1, 100, 5, "ship", 1, "ok").run(25, 30, 1, 100, 6, "ship", 1, "ok").run(30, 0, 1, 100, 7, "ship", 1, "").
				exit(50, 1, "killed").beat(2, 900).claim(1100, 2, 101, "5,6,7").run(1110, 1120, 2, 101, 5, "ship", 1, "ok").
				run(1120, 1130, 2, 101, 6, "ship", 1, "ok").run(1130, 1140, 2, 101, 7, "ship", 1, "ok"),
			[]chaos.EntryFact{finished(5), finished(6), finished(7)},
			[]string{"I5: 3 entries ran again after worker 1 ended killed: want at most 2"},
			3,
		},
		{
			"I6 a blamed innocent", killed().claim(1100, 2, 101, "5").run(1110, 1120, 2, 101, 5, "ship", 1, "ok").finish(1130, 2, 101, "5"),
			[]chaos.EntryFact{{ID: 5, Owed: []string{"ship"}, Done: true, Crashes: 2}},
			[]string{"I6: entry 5 counts 2 crashes"},
			1,
		},
		{
			"I6 a burnt attempt", killed().claim(1100, 2, 101, "5").run(1110, 1120, 2, 101, 5, "ship", 2, "ok").finish(1130, 2, 101, "5"),
			[]chaos.EntryFact{{ID: 5, Owed: []string{"ship"}, Done: true, Attempts: 1}},
			[]string{"I6: ship for entry 5 ran as attempt 2 after attempt 1"},
			1,
		},
		{
			"I6 a miscounted attempt", alive().claim(10, 1, 100, "5").run(20, 30, 1, 100, 5, "ship", 1, "ok").finish(40, 1, 100, "5"),
			[]chaos.EntryFact{{ID: 5, Owed: []string{"ship"}, Done: true, Attempts: 1}},
			[]string{"I6: entry 5 counts 1 attempts, the ledger 0 to 0"},
			0,
		},
		{"I6 dead too soon", killed(), []chaos.EntryFact{{ID: 5, Owed: []string{"ship"}, Dead: true, Crashes: 1}}, []string{"I6: entry 5 is dead after 1 crashes"}, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			report := chaos.Check(test.book.read(t), chaos.Facts{LeaseTTL: time.Second, MaxCrashes: 3, Bound: 2, Entries: test.entries})
			again := 0
			for _, n := range report.Duplicates {
				again += n
			}
			ok := len(report.Faults) == len(test.faults) && again == test.again
			for i := range min(len(report.Faults), len(test.faults)) {
				ok = ok && strings.HasPrefix(report.Faults[i], test.faults[i])
			}
			if !ok {
				t.Errorf("Check() = %q, %d entries again; want %q, %d", report.Faults, again, test.faults, test.again)
			}
		})
	}
}

// A line that a killed process could not end did not happen, and does not hurt
// the next one.
func TestLedgerTornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	if err := os.WriteFile(path, []byte("\nclaim 1 1 100 0 5,6"), 0o600); err != nil {
		t.Fatal(err)
	}
	ledger, err := chaos.OpenLedger(path, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := ledger.Write("claim", 101, chaos.Now(), []int64{7, 8}); err != nil {
		t.Fatal(err)
	}
	if err := ledger.Close(); err != nil {
		t.Fatal(err)
	}
	h, err := chaos.ReadLedger(path)
	if err != nil || len(h.Holds) != 1 || !cmp.Equal(h.Holds[101].IDs, []int64{7, 8}) {
		t.Errorf("ReadLedger() = %+v, %v; want the whole line alone", h, err)
	}
}

// A seed is a schedule.
func TestSchedule(t *testing.T) {
	faults := chaos.Faults{chaos.Kill: 50, chaos.Stop: 10, chaos.KillDatabase: 3, chaos.Cut: 100}
	a, b, c := chaos.Schedule(1, faults), chaos.Schedule(1, faults), chaos.Schedule(2, faults)
	if !cmp.Equal(a, b) || cmp.Equal(a, c) {
		t.Error("Schedule() must depend on the seed, and on nothing else")
	}
	counts := make(chaos.Faults)
	for i, f := range a {
		counts[f.Kind]++
		if i > 0 && f.At <= a[i-1].At {
			t.Errorf("fault %d is due at %v, the one before it at %v", i, f.At, a[i-1].At)
		}
	}
	if !cmp.Equal(counts, faults) {
		t.Errorf("Schedule() has %v, want %v", counts, faults)
	}
}
