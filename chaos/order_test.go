package chaos_test

import (
	"strings"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/chaos"
)

// ordered returns facts of entries of one key, all done.
func ordered(ids ...int64) (all []chaos.EntryFact) {
	for _, id := range ids {
		all = append(all, chaos.EntryFact{ID: id, Key: "k", Owed: []string{"ship"}, Done: true})
	}
	return all
}

// ship is a run of an entry that takes five milliseconds and ends well.
func (b *book) ship(at, worker, token, entry int) *book {
	return b.run(at, at+5, worker, token, entry, "ship", 1, "ok")
}

// try is one that fails, and the finish that says so.
func (b *book) try(at, worker, token, entry, attempt int) *book {
	return b.run(at, at+5, worker, token, entry, "ship", attempt, "failed").line("finishing", at+6, worker, token, entry)
}

// Each way to break the order of a key, or its exclusiveness, must be seen, and
// what is in order must not be.
func TestCheckOrder(t *testing.T) {
	alive := func() *book { return new(book).beat(1, 0).beat(2, 0) }
	killed := func() *book { // worker 1 ran 5 and 6, made neither durable, and was killed
		return alive().claim(10, 1, 100, "5,6,7").ship(20, 1, 100, 5).ship(30, 1, 100, 6).exit(50, 1, "killed").beat(2, 900)
	}
	tests := []struct {
		name    string
		book    *book
		entries []chaos.EntryFact
		skip    int
		faults  []string // how they begin
	}{
		{
			"a chain", alive().claim(10, 1, 100, "5,6").ship(20, 1, 100, 5).ship(30, 1, 100, 6).finish(40, 1, 100, "5,6"),
			ordered(5, 6), 0, nil,
		},
		{
			"one claim after the other", alive().claim(10, 1, 100, "5").ship(20, 1, 100, 5).finish(30, 1, 100, "5").claim(40, 2, 101, "6").ship(50, 2, 101, 6).finish(60, 2, 101, "6"),
			ordered(5, 6), 0, nil,
		},
		{
			"a failure, and what waited for it", alive().claim(10, 1, 100, "5,6").try(20, 1, 100, 5, 1).line("releasing", 30, 1, 100, 6).
				claim(40, 2, 101, "5,6").run(50, 55, 2, 101, 5, "ship", 2, "ok").ship(60, 2, 101, 6).finish(70, 2, 101, "5,6"),
			[]chaos.EntryFact{{ID: 5, Key: "k", Owed: []string{"ship"}, Done: true, Attempts: 1}, ordered(6)[0]},
			0, nil,
		},
		{
			"back after a kill, and forward", killed().claim(1100, 2, 101, "5,6,7").ship(1110, 2, 101, 5).ship(1120, 2, 101, 6).ship(1130, 2, 101, 7).finish(1140, 2, 101, "5,6,7"),
			ordered(5, 6, 7), 0, nil,
		},
		{
			"the finish of the killed was durable", killed().line("finishing", 45, 1, 100, "5,6").claim(1100, 2, 101, "7").ship(1110, 2, 101, 7).finish(1120, 2, 101, "7"),
			ordered(5, 6, 7), 0, nil,
		},
		{
			"a zombie goes on when its lease is over", alive().claim(10, 1, 100, "5,6").run(20, 3000, 1, 100, 5, "ship", 1, "ok").beat(2, 900).claim(1100, 2, 101, "5,6").
				ship(1110, 2, 101, 5).ship(1120, 2, 101, 6).finish(1130, 2, 101, "5,6").ship(3010, 1, 100, 6).beat(1, 3900),
			ordered(5, 6), 0, nil,
		},
		{
			"keys do not wait for each other", alive().claim(10, 1, 100, "5,6").run(20, 30, 1, 100, 6, "ship", 1, "ok").run(21, 31, 1, 100, 5, "ship", 1, "ok").finish(40, 1, 100, "5,6"),
			[]chaos.EntryFact{ordered(5)[0], {ID: 6, Key: "other", Owed: []string{"ship"}, Done: true}},
			0, nil,
		},
		{
			"skip", alive().claim(10, 1, 100, "5,6").run(20, 25, 1, 100, 5, "ship", 1, "failed").finish(29, 1, 100, "5").ship(40, 1, 100, 6).finish(50, 1, 100, "6"),
			[]chaos.EntryFact{{ID: 5, Key: "k", Owed: []string{"ship"}, Dead: true, Attempts: 1}, ordered(6)[0]},
			1, nil,
		},
		{
			"an operator retried it, and gave it up", alive().claim(10, 1, 100, "5,6").try(20, 1, 100, 5, 1).line("releasing", 29, 1, 100, 6).line("retried", 30, 0, 5).
				claim(40, 1, 101, "5,6").try(50, 1, 101, 5, 1).line("releasing", 59, 1, 101, 6).line("discarded", 60, 0, 5).claim(70, 1, 102, "6").ship(80, 1, 102, 6).finish(90, 1, 102, "6"),
			ordered(5, 6),
			0, nil,
		},
		{
			"I3 given up too late", alive().claim(10, 1, 100, "5,6").try(20, 1, 100, 5, 1).ship(30, 1, 100, 6).finish(40, 1, 100, "6").line("discarded", 60, 0, 5),
			ordered(5, 6),
			0,
			[]string{"I3: key k: entry 6 started under token 100 at 30000000, before ship succeeded for entry 5"},
		},
		{
			"I3 dead is not done", alive().claim(10, 1, 100, "5,6").run(20, 25, 1, 100, 5, "ship", 1, "failed").finish(29, 1, 100, "5").ship(40, 1, 100, 6).finish(50, 1, 100, "6"),
			[]chaos.EntryFact{{ID: 5, Key: "k", Owed: []string{"ship"}, Dead: true, Attempts: 1}, ordered(6)[0]},
			0,
			[]string{"I3: key k: entry 6 started under token 100 at 40000000, before ship succeeded for entry 5"},
		},
		{
			"I3 skipped before its last attempt", alive().claim(10, 1, 100, "5,6").run(20, 25, 1, 100, 5, "ship", 1, "failed").ship(30, 1, 100, 6).finish(40, 1, 100, "5,6"),
			[]chaos.EntryFact{{ID: 5, Key: "k", Owed: []string{"ship"}, Dead: true, Attempts: 1}, ordered(6)[0]},
			2,
			[]string{"I3: key k: entry 6 started under token 100 at 30000000, before ship succeeded for entry 5"},
		},
		{
			"I3 the later one first", alive().claim(10, 1, 100, "5,6").ship(20, 1, 100, 6).ship(30, 1, 100, 5).finish(40, 1, 100, "5,6"),
			ordered(5, 6), 0,
			[]string{"I3: key k: entry 6 started under token 100 at 20000000, before ship succeeded for entry 5", "I3: key k: entry 5 started after entry 6, both under token 100"},
		},
		{
			"I3 a failed head is passed", alive().claim(10, 1, 100, "5,6").try(20, 1, 100, 5, 1).ship(30, 1, 100, 6).finish(40, 1, 100, "6").
				claim(50, 2, 101, "5").run(60, 65, 2, 101, 5, "ship", 2, "ok").finish(70, 2, 101, "5"),
			[]chaos.EntryFact{{ID: 5, Key: "k", Owed: []string{"ship"}, Done: true, Attempts: 1}, ordered(6)[0]},
			0,
			[]string{
				"I3: key k: entry 6 was durably done at 41000000, before", "I3: key k: entry 6 started under token 100 at 30000000, before ship succeeded",
				"I3: key k: entry 5 started under token 101 after entry 6 under token 100: worker 1 did not lose",
			},
		},
		{
			"I3 one callback of two is owed", alive().claim(10, 1, 100, "5,6").run(20, 25, 1, 100, 5, "bill", 1, "ok").ship(30, 1, 100, 6).ship(40, 1, 100, 5).finish(50, 1, 100, "5,6"),
			[]chaos.EntryFact{{ID: 5, Key: "k", Owed: []string{"bill", "ship"}, Done: true}, ordered(6)[0]},
			0,
			[]string{"I3: key k: entry 6 started under token 100 at 30000000, before ship succeeded", "I3: key k: entry 5 started after entry 6, both"},
		},
		{
			"I3 back, and not all forward", killed().claim(1100, 2, 101, "5,6,7").ship(1110, 2, 101, 5).ship(1120, 2, 101, 7).finish(1130, 2, 101, "5,6,7"),
			ordered(5, 6, 7), 0,
			[]string{"I3: key k: entry 7 started under token 101 at 1120000000, before entry 6 was run again"},
		},
		{
			"I3 what is not durable is left out", killed().claim(1100, 2, 101, "7").ship(1110, 2, 101, 7).finish(1120, 2, 101, "7"),
			ordered(5, 6, 7), 0,
			[]string{"I3: key k: entry 7 started under token 101 at 1110000000, before entry 5 was durable"},
		},
		{
			"I3 released is not durable", alive().claim(10, 1, 100, "5").ship(20, 1, 100, 5).line("releasing", 30, 1, 100, 5).claim(40, 2, 101, "6").ship(50, 2, 101, 6).finish(60, 2, 101, "6"),
			ordered(5, 6), 0,
			[]string{"I3: key k: entry 6 started under token 101 at 50000000, before entry 5 was durable"},
		},
		{
			"I3 claimed before that was durable", alive().claim(10, 1, 100, "5").ship(20, 1, 100, 5).claim(35, 2, 101, "6").finish(40, 1, 100, "5").ship(50, 2, 101, 6).finish(60, 2, 101, "6"),
			ordered(5, 6), 0,
			[]string{"I4: key k was claimed under token 101 by worker 2 while worker 1 held it", "I3: key k: entry 6 started under token 101 at 50000000, before entry 5 was durable"},
		},
		{
			"I3 durable out of order", alive().claim(10, 1, 100, "5,6").ship(20, 1, 100, 5).ship(30, 1, 100, 6).finish(40, 1, 100, "6").finish(50, 1, 100, "5"),
			ordered(5, 6), 0,
			[]string{"I3: key k: entry 6 was durably done at 41000000, before one that comes before it"},
		},
		{
			"I3 durable before what never was", alive().claim(10, 1, 100, "5,6").ship(20, 1, 100, 5).ship(30, 1, 100, 6).finish(40, 1, 100, "6"),
			[]chaos.EntryFact{{ID: 5, Key: "k", Owed: []string{"ship"}}, ordered(6)[0]},
			0,
			[]string{"I2: entry 5 is neither", "I3: key k: entry 6 was durably done, but entry 5 before it never"},
		},
		{
			"I3 back without a reason", alive().claim(10, 1, 100, "5,6").ship(20, 1, 100, 5).ship(30, 1, 100, 6).line("releasing", 40, 1, 100, "5,6").
				claim(50, 2, 101, "5,6").ship(60, 2, 101, 5).ship(70, 2, 101, 6).finish(80, 2, 101, "5,6"),
			ordered(5, 6), 0,
			[]string{
				"I5: ship ran again for entry 5", "I5: ship ran again for entry 6",
				"I3: key k: entry 5 started under token 101 after entry 6 under token 100: worker 1 did not lose that lease",
			},
		},
		{
			"I3 the token goes back", alive().claim(10, 1, 101, "5").claim(11, 2, 100, "6").ship(20, 1, 101, 5).finish(30, 1, 101, "5").ship(40, 2, 100, 6).finish(50, 2, 100, "6"),
			ordered(5, 6), 0,
			[]string{
				"I4: key k was claimed under token 100", "I3: key k: entry 6 started under token 100 after entry 5 had under token 101",
				"I3: key k: entry 6 started under token 100 at 40000000, before ship succeeded", "I3: key k: entry 5 started under token 101 after entry 6",
			},
		},
		{
			"I4 two entries at a time", alive().claim(10, 1, 100, "5,6").run(20, 40, 1, 100, 5, "ship", 1, "ok").run(30, 50, 1, 100, 6, "ship", 1, "ok").finish(60, 1, 100, "5,6"),
			ordered(5, 6), 0,
			[]string{"I4: key k: entry 6 ran under token 100 on worker 1 while entry 5", "I3: key k: entry 6 started under token 100 at 30000000, before ship had ended for entry 5"},
		},
		{
			"I4 two workers have the key", alive().claim(10, 1, 100, "5").run(20, 60, 1, 100, 5, "ship", 1, "ok").claim(30, 2, 101, "6").run(40, 80, 2, 101, 6, "ship", 1, "ok").
				finish(70, 1, 100, "5").finish(90, 2, 101, "6"),
			ordered(5, 6), 0,
			[]string{
				"I4: key k was claimed under token 101 by worker 2", "I4: key k: entry 6 ran under token 101 on worker 2 while entry 5",
				"I3: key k: entry 6 started under token 101 at 40000000, before ship had ended for entry 5",
			},
		},
		{
			"I4 taken over too early", alive().claim(10, 1, 100, "5,6").ship(20, 1, 100, 5).line("finishing", 30, 1, 100, 5).exit(50, 1, "killed").
				claim(400, 2, 101, "6").ship(410, 2, 101, 6).finish(420, 2, 101, "6"),
			ordered(5, 6), 0,
			[]string{"I4: entry 6 was claimed under token 101", "I4: key k was claimed under token 101"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			report := chaos.Check(test.book.read(t), chaos.Facts{LeaseTTL: time.Second, MaxCrashes: 3, Bound: 3, Skip: test.skip, Entries: test.entries})
			ok := len(report.Faults) == len(test.faults) && report.Keys > 0
			for i := range min(len(report.Faults), len(test.faults)) {
				ok = ok && strings.HasPrefix(report.Faults[i], test.faults[i])
			}
			if !ok {
				t.Errorf("Check() = %d keys, %q; want %q", report.Keys, report.Faults, test.faults)
			}
		})
	}
}
