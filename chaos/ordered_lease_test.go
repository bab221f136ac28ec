package chaos_test

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/chaos"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// A worker stands still in the midst of a key, for longer than its lease.
// Another one takes its lanes, goes back to the entry that was running, and does
// all the work in order. When the first wakes, it starts nothing, and what it
// finishes changes nothing (16).
func TestStandStillInOrder(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		s := emptyScene(t, testdb.New(t, d))
		const accounts, each = 12, 8
		for i := range accounts {
			s.account(t, "account-"+strconv.Itoa(i), each, 0)
		}
		t.Setenv("CHAOS_ORDERED", "park")
		t.Setenv("CHAOS_LOCKER", "yes")
		t.Setenv("CHAOS_POISON", "4:hang") // in the midst of the first account
		zombie, log := s.start(t, "", "5ms")
		s.until(t, func() bool { return len(s.runs(t, "4", zombie)) == 1 })
		s.halt(t, zombie)
		t.Setenv("CHAOS_POISON", "")
		other, _ := s.start(t, "", "0s")
		s.until(t, func() bool { return s.count(t, "outbox_entries") == 0 })
		woken := chaos.Now()
		if err := zombie.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		s.until(t, func() bool { return s.runs(t, "4", zombie)[0].Result == "failed" })
		s.stop(t, zombie)
		s.stop(t, other)
		if n := s.count(t, "outbox_history"); n != accounts*each {
			t.Errorf("history has %d entries, want %d", n, accounts*each)
		}
		if n := s.count(t, "outbox_history WHERE attempts > 0 OR crashes > 0"); n != 0 {
			t.Errorf("%d entries were blamed, want 0", n)
		}
		entry := s.runs(t, "4", nil)[0].Entry
		for _, r := range s.history(t).Runs {
			if r.Worker == zombie.Process.Pid && r.Start > woken && r.Entry > entry && r.Entry <= each {
				t.Errorf("the zombie started entry %d of the same key after it woke", r.Entry)
			}
		}
		if said := log.String(); !strings.Contains(said, "lease_lost") {
			t.Errorf("the zombie does not tell that it lost its lease:\n%s", said)
		}
		s.judge(t)
	})
}

// Workers come and go, and lanes change hands each time: nothing runs out of
// order, nothing again, and every worker gets its share (37).
func TestLanesChangeHands(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		s := emptyScene(t, testdb.New(t, d))
		s.lease = 5 * time.Second // so that none is lost
		s.post(t, draws(t), 40, 25)
		t.Setenv("CHAOS_ORDERED", "park")
		first, _ := s.start(t, "", "2ms")
		s.until(t, func() bool { return s.lanesOf(t, 1) == reliable.Lanes })
		second, _ := s.start(t, "", "2ms")
		third, _ := s.start(t, "", "2ms")
		s.until(t, func() bool { return s.lanesOf(t, 3) == reliable.Lanes })
		s.stop(t, first)
		s.until(t, func() bool { return s.lanesOf(t, 2) == reliable.Lanes })
		s.post(t, draws(t), 40, 5) // there is something left for the next one
		fourth, _ := s.start(t, "", "2ms")
		s.until(t, func() bool { return s.lanesOf(t, 3) == reliable.Lanes && s.count(t, "outbox_entries") == 0 })
		s.stop(t, second)
		s.stop(t, third)
		s.stop(t, fourth)
		report := s.judge(t)
		if report.Entries != 1200 || report.Keys != 40 || len(report.Duplicates) != 0 {
			t.Errorf("%d entries of %d keys, %v ran again; want 1200, 40, none", report.Entries, report.Keys, report.Duplicates)
		}
		runs := make(map[int]int)
		for _, r := range s.history(t).Runs {
			runs[r.Worker]++
		}
		if len(runs) < 3 {
			t.Errorf("runs by worker: %v; want at least those of the first three", runs)
		}
	})
}

// lanesOf returns how many lanes have an owner that lives, if so many workers
// have some, each no more than its share; otherwise 0.
func (s *scene) lanesOf(t *testing.T, workers int) (lanes int) {
	t.Helper()
	var shares []int
	err := s.db.Raw("SELECT count(*) FROM outbox_lanes WHERE owner IN (SELECT id FROM outbox_workers) GROUP BY owner").Scan(&shares).Error
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range shares {
		if n > (reliable.Lanes+workers-1)/workers {
			return 0
		}
		lanes += n
	}
	if len(shares) != workers {
		return 0
	}
	return lanes
}

// A worker of an old release does not cover the first entry of a key: that
// waits for one that does, and all that follows it with it; other keys go on.
func TestOldReleaseInOrder(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		s := emptyScene(t, testdb.New(t, d))
		later := s.url.Open(t)
		if err := later.Use(reliable.New(reliable.Config{Registry: chaos.NewCallbacks(chaos.Idle)})); err != nil {
			t.Fatal(err)
		}
		s.account(t, "mixed", 2, 0)
		if err := later.Create(&chaos.Posting{Account: "mixed"}).Error; err != nil {
			t.Fatal(err)
		}
		s.account(t, "mixed", 3, 0)
		s.account(t, "other", 20, 0)
		t.Setenv("CHAOS_ORDERED", "park")
		old, _ := s.start(t, "", "1ms")
		s.until(t, func() bool { return s.count(t, "outbox_history") == 22 }) // of the mixed key, two
		t.Setenv("CHAOS_NEW", "true")
		fresh, _ := s.start(t, "", "1ms")
		s.until(t, func() bool { return s.count(t, "outbox_entries") == 0 })
		s.stop(t, old)
		s.stop(t, fresh)
		report := s.judge(t)
		if report.Entries != 26 || len(report.Duplicates) != 0 {
			t.Errorf("%d entries, %v ran again; want 26, none", report.Entries, report.Duplicates)
		}
		if n := s.count(t, "outbox_history WHERE attempts > 0 OR crashes > 0"); n != 0 {
			t.Errorf("%d entries were blamed, want 0", n)
		}
	})
}

// A transaction that wrote to a key first commits last. With StrictOrder the
// second writer waits for it, so that ids follow the commits; without, the late
// entry runs as soon as it is there. Nothing is lost, and where the first one
// rolls back nobody waits for its entry (32).
func TestLateCommitInOrder(t *testing.T) {
	for _, d := range []testdb.Dialect{testdb.Postgres, testdb.MySQL} { // SQLite has one writer at a time
		for _, strict := range []bool{true, false} {
			for _, back := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s strict=%v back=%v", d, strict, back), func(t *testing.T) { lateCommit(t, d, strict, back) })
			}
		}
	}
}

func lateCommit(t *testing.T, d testdb.Dialect, strict, back bool) {
	s := emptyScene(t, testdb.New(t, d))
	t.Setenv("CHAOS_ORDERED", "park")
	worker, _ := s.start(t, "", "0s")
	s.registered(t, worker)
	db := s.url.Open(t)
	if err := db.Use(reliable.New(reliable.Config{Registry: chaos.Callbacks(chaos.Idle), StrictOrder: strict})); err != nil {
		t.Fatal(err)
	}
	slow := db.Begin()
	if err := slow.Create(&chaos.Posting{Account: "a", Number: 1}).Error; err != nil {
		t.Fatal(err)
	}
	fast := make(chan error, 1)
	go func() { fast <- db.Create(&chaos.Posting{Account: "a", Number: 2}).Error }()
	if strict {
		waiting := "pg_stat_activity WHERE wait_event_type = 'Lock' AND pid <> pg_backend_pid()"
		if d == testdb.MySQL {
			// Not innodb_trx: who looks there often sees what was there when it began.
			waiting = "information_schema.processlist WHERE info LIKE '%key_locks%' AND time_ms > 100 AND id <> connection_id()"
		}
		s.until(t, func() bool { return s.count(t, waiting) > 0 })
	} else {
		s.until(t, func() bool { return s.count(t, "outbox_history") == 1 })
	}
	want, end := 2, slow.Commit
	if back {
		want, end = 1, func() *gorm.DB { return slow.Rollback() }
	}
	if err := end().Error; err != nil {
		t.Fatal(err)
	}
	if err := <-fast; err != nil {
		t.Fatal(err)
	}
	s.until(t, func() bool { return s.count(t, "outbox_history") == want })
	s.stop(t, worker)
	if strict || back {
		s.judge(t)
		return
	}
	runs := s.history(t).Runs
	if len(runs) != 2 || runs[0].Entry < runs[1].Entry || runs[0].End > runs[1].Start {
		t.Errorf("%+v ran; want the later entry, then the one that was committed late", runs)
	}
}
