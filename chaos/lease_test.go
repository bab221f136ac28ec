package chaos_test

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/chaos"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb/proxy"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// A worker stands still in the midst of a callback, for longer than its lease.
// Another one takes over and does all the work. When the first wakes, it starts
// nothing, its callback's context ends, and what it finishes changes nothing (16).
func TestStandStill(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		s := newScene(t, testdb.New(t, d))
		t.Setenv("CHAOS_POISON", "20:hang")
		zombie, log := s.start(t, "", "5ms")
		s.until(t, func() bool { return len(s.runs(t, "20", zombie)) == 1 })
		s.halt(t, zombie)
		t.Setenv("CHAOS_POISON", "")
		other, _ := s.start(t, "", "0s")
		s.until(t, func() bool { return s.count(t, "outbox_entries") == 0 })
		history := s.count(t, "outbox_history")
		woken := chaos.Now()
		if err := zombie.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		s.until(t, func() bool { runs := s.runs(t, "20", zombie); return runs[0].Result == "failed" })
		s.stop(t, zombie)
		s.stop(t, other)
		if n := s.count(t, "outbox_history"); n != history || n != orders {
			t.Errorf("history had %d entries, and has %d, want %d", history, n, orders)
		}
		started := 0
		for _, r := range s.history(t).Runs {
			if r.Worker == zombie.Process.Pid && r.Start > woken && r.Callback == "first" {
				started++
			}
		}
		if started > 0 {
			t.Errorf("the zombie started %d entries after it woke, want 0", started)
		}
		if said := log.String(); !strings.Contains(said, "lease_lost") {
			t.Errorf("the zombie does not tell that it lost its lease:\n%s", said)
		}
		s.check(t, 1)
	})
}

// The database's answer to a claim comes late: within the lease, or after it.
// What a worker can't trust it does not run; nothing is lost or runs beside
// itself (19).
func TestLateAnswers(t *testing.T) {
	for _, service := range []testdb.Service{testdb.PostgreSQL, testdb.MariaDB} {
		t.Run(service.String(), func(t *testing.T) {
			d := testdb.Postgres
			if service == testdb.MariaDB {
				d = testdb.MySQL
			}
			r := draws(t)
			s := newScene(t, testdb.New(t, d))
			s.lease = 500 * time.Millisecond
			p := proxy.Start(t, service, s.url.URL)
			s.address = p.URL(s.url.URL)
			late := 0
			first, _ := s.start(t, "", "5ms")
			second, _ := s.start(t, "", "5ms")
			s.registered(t, first)
			s.registered(t, second)
			p.OnCommit(func() proxy.Fate {
				if late++; late%7 != 0 || late > 60 {
					return proxy.Pass
				}
				return proxy.Late
			})
			for s.count(t, "outbox_entries") > 0 {
				p.LateBy(time.Duration(300+r.IntN(400)) * time.Millisecond) // of a lease of 500 ms
				<-time.After(50 * time.Millisecond)
			}
			p.OnCommit(nil)
			s.stop(t, first)
			s.stop(t, second)
			report := s.judge(t)
			h := s.history(t)
			t.Logf("%d claims were not trusted, or their answers lost; ran again: %v", h.Blind, report.Duplicates)
			if report.Lost+report.Overlaps > 0 || s.count(t, "outbox_history") != orders {
				t.Errorf("%d of %d entries are done", s.count(t, "outbox_history"), orders)
			}
			if late < 14 {
				t.Error("no answer was late: the test shows nothing")
			}
		})
	}
}

// seat runs a processor without a worker: claims are made by hand.
func (s *scene) seat(t *testing.T, name string, lease time.Duration) *processors.NonOrdered {
	t.Helper()
	p := &processors.NonOrdered{LeaseTTL: lease}
	s.run(t, name, p)
	return p
}

// run runs a processor until the test ends.
func (s *scene) run(t *testing.T, name string, p processors.EntriesProcessor) {
	t.Helper()
	plugin, err := reliable.From(s.db)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- p.Run(ctx, processors.Site{DB: s.db, Plugin: plugin, Worker: name, Threads: 1}, func() { close(ready) })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
}

// claim claims entries, waiting until there are some.
func (s *scene) claim(t *testing.T, p processors.EntriesProcessor, n int) (found processors.Claim) {
	t.Helper()
	s.until(t, func() bool {
		claim, err := p.Claim(t.Context(), n)
		found = claim
		return err == nil && claim != nil // it refuses while its lease is not renewed
	})
	return found
}

func done(claim processors.Claim) []reliable.Outcome {
	var outcomes []reliable.Outcome
	for _, e := range claim.Entries() {
		outcomes = append(outcomes, reliable.Outcome{Entry: e})
	}
	return outcomes
}

// A worker that lost an entry claims it again itself. Its first claim's finish
// is refused all the same: the token is the claim's, not the worker's (20).
func TestClaimAgain(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		s := newScene(t, testdb.New(t, d))
		p := s.seat(t, "same", 300*time.Millisecond)
		first := s.claim(t, p, 1)
		if err := s.db.Exec("DELETE FROM outbox_workers").Error; err != nil { // as a rescuer would
			t.Fatal(err)
		}
		<-first.Lost()
		var again processors.Claim
		s.until(t, func() bool {
			again = s.claim(t, p, 1)
			return again.Entries()[0].ID == first.Entries()[0].ID || again.Release(t.Context()) != nil
		})
		if err := first.Finish(t.Context(), done(first)); !errors.Is(err, reliable.ErrLeaseLost) {
			t.Errorf("Finish() under the lost token = %v, want ErrLeaseLost", err)
		}
		if n := s.count(t, "outbox_history"); n != 0 {
			t.Errorf("history has %d entries after that, want 0", n)
		}
		if err := again.Finish(t.Context(), done(again)); err != nil || again.Token() <= first.Token() {
			t.Errorf("Finish() under token %d after %d = %v, want nil under a higher one", again.Token(), first.Token(), err)
		}
		if n := s.count(t, "outbox_history"); n != 1 {
			t.Errorf("history has %d entries, want 1", n)
		}
	})
}

// Finish, release and rescue meet at one claim, staged with a lock on its row:
// exactly one has its way, the others change nothing (21).
func TestMeeting(t *testing.T) {
	for _, d := range []testdb.Dialect{testdb.Postgres, testdb.MySQL} { // SQLite has one writer at a time
		t.Run(d.String(), func(t *testing.T) {
			t.Run("the lock goes", func(t *testing.T) { meet(t, d, false) })
			t.Run("a rescue had it", func(t *testing.T) { meet(t, d, true) })
		})
	}
}

func meet(t *testing.T, d testdb.Dialect, rescued bool) {
	s := newScene(t, testdb.New(t, d))
	p := s.seat(t, "meeting", 10*time.Second)
	claim := s.claim(t, p, 5)
	first := claim.Entries()[0].ID
	stage := s.db.Begin()
	if err := stage.Exec("SELECT token FROM outbox_claims WHERE token = ? FOR UPDATE", claim.Token()).Error; err != nil {
		t.Fatal(err)
	}
	finished, released := make(chan error, 1), make(chan error, 1)
	go func() { finished <- claim.Finish(context.Background(), done(claim)) }()
	waiting := "pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%outbox_claims%' AND pid <> pg_backend_pid()"
	if d == testdb.MySQL {
		waiting = "information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
	}
	s.until(t, func() bool { return s.count(t, waiting) > 0 })
	go func() { released <- claim.Release(context.Background()) }()
	if rescued {
		err := errors.Join(
			stage.Exec("UPDATE outbox_entries SET suspect = true, retry_at = NOW() WHERE id = ?", first).Error,
			stage.Exec("DELETE FROM outbox_claims WHERE token = ?", claim.Token()).Error)
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := stage.Commit().Error; err != nil {
		t.Fatal(err)
	}
	err, history := <-finished, 5
	if rescued {
		history = 0
	}
	if errors.Is(err, reliable.ErrLeaseLost) != rescued || !rescued && err != nil {
		t.Errorf("Finish() = %v, want ErrLeaseLost if rescued, which is %v", err, rescued)
	}
	if err := <-released; err != nil {
		t.Errorf("Release() = %v, want nil", err)
	}
	if n := s.count(t, "outbox_history"); n != history || s.count(t, "outbox_entries") != orders-history {
		t.Errorf("history has %d entries, and %d wait; want %d, %d", n, s.count(t, "outbox_entries"), history, orders-history)
	}
}
