package chaos_test

import (
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"github.com/gorm-aftercommit/aftercommit/chaos"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/outbox"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// never is how many attempts of a posting fail that never succeeds.
const never = 1_000_000

// account commits n postings of one account, of which the first fails so often,
// and returns the entry of the first.
func (s *scene) account(t *testing.T, name string, n, fails int) (head int64) {
	t.Helper()
	batch := make([]chaos.Posting, n)
	for i := range batch {
		batch[i] = chaos.Posting{Account: name, Number: i + 1}
	}
	batch[0].Fails = fails
	if err := s.db.Create(&batch).Error; err != nil {
		t.Fatal(err)
	}
	if err := s.db.Raw("SELECT min(id) FROM outbox_entries WHERE causality_key = ?", name).Scan(&head).Error; err != nil || head == 0 {
		t.Fatalf("entry %d, error %v", head, err)
	}
	return head
}

// crewOf starts workers of a policy.
func (s *scene) crewOf(t *testing.T, policy reliable.KeyPolicy, n int) (workers []*exec.Cmd) {
	t.Helper()
	t.Setenv("CHAOS_ORDERED", string(policy))
	for range n {
		cmd, _ := s.start(t, "", "1ms")
		workers = append(workers, cmd)
	}
	for _, cmd := range workers {
		s.registered(t, cmd)
	}
	return workers
}

// runsOf returns the runs of an entry.
func (s *scene) runsOf(t *testing.T, entry int64) (found []*chaos.Run) {
	t.Helper()
	for _, r := range s.history(t).Runs {
		if r.Entry == entry {
			found = append(found, r)
		}
	}
	return found
}

// The head of a key fails five times. None of the fifty that follow starts
// before it is done, and other keys do not wait for it (31).
func TestHeadFails(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		s := emptyScene(t, testdb.New(t, d))
		head := s.account(t, "slow", 51, 5)
		for i := range 4 {
			s.account(t, "other-"+strconv.Itoa(i), 25, 0)
		}
		for _, cmd := range s.crewOf(t, reliable.KeyPark, 2) {
			defer s.stop(t, cmd)
		}
		s.until(t, func() bool { return s.count(t, "outbox_entries") == 0 })
		report := s.judge(t)
		if report.Entries != 151 || report.Keys != 5 || len(report.Duplicates) != 0 {
			t.Errorf("%d entries of %d keys are done, %v ran again; want 151, 5, none", report.Entries, report.Keys, report.Duplicates)
		}
		runs := s.runsOf(t, head)
		if len(runs) != 6 || runs[4].Result != "failed" || runs[5].Result != "ok" {
			t.Errorf("the head ran %d times, want 5 that failed and one", len(runs))
		}
	})
}

// A head blocks its key for as long as it fails, and only its key, through the
// death of workers; then all that follows runs in order (35).
func TestBlockedKey(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		s := emptyScene(t, testdb.New(t, d))
		head := s.account(t, "bad", 6, never)
		s.account(t, "good", 20, 0)
		workers := s.crewOf(t, reliable.KeyBlock, 2)
		s.until(t, func() bool {
			return s.count(t, "outbox_history") == 20 && len(s.runsOf(t, head)) > chaos.MaxAttempts
		})
		for _, cmd := range workers {
			kill(t, cmd)
		}
		if n, parked := s.count(t, "outbox_entries WHERE dead_at IS NULL"), s.count(t, "outbox_parked_keys"); n != 6 || parked != 0 {
			t.Errorf("%d entries wait, %d keys are parked; want 6, none", n, parked)
		}
		t.Setenv("CHAOS_MERCY", "true")
		for _, cmd := range s.crewOf(t, reliable.KeyBlock, 2) {
			defer s.stop(t, cmd)
		}
		s.until(t, func() bool { return s.count(t, "outbox_entries") == 0 })
		s.judge(t)
	})
}

// A key is parked once its head is dead, and stays so through the death of
// workers. Its head is retried, and fails again; then it is discarded, and all
// that follows runs in order (35).
func TestParkedKey(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		s := emptyScene(t, testdb.New(t, d))
		head := s.account(t, "bad", 6, never)
		s.account(t, "good", 20, 0)
		workers := s.crewOf(t, reliable.KeyPark, 2)
		parked := "outbox_parked_keys WHERE causality_key = 'bad' AND entry_id = " + strconv.FormatInt(head, 10)
		s.until(t, func() bool { return s.count(t, "outbox_history") == 20 && s.count(t, parked) == 1 })
		kill(t, workers[0])
		for _, cmd := range s.crewOf(t, reliable.KeyPark, 1) {
			defer s.stop(t, cmd)
		}
		defer s.stop(t, workers[1])
		s.release(t, head, "retried", outbox.RetryHead)
		s.until(t, func() bool {
			return len(s.runsOf(t, head)) == 2*chaos.MaxAttempts && s.count(t, parked) == 1
		})
		if n := s.count(t, "outbox_entries"); n != 6 {
			t.Errorf("%d entries are there, want the dead one and 5 that wait for it", n)
		}
		s.release(t, head, "discarded", outbox.DiscardHead)
		s.until(t, func() bool { return s.count(t, "outbox_entries") == 0 })
		if n := s.count(t, "outbox_parked_keys"); n != 0 {
			t.Errorf("%d keys are parked, want 0", n)
		}
		s.judge(t)
	})
}

// release lets the key "bad" go on, and notes that in the ledger.
func (s *scene) release(t *testing.T, head int64, note string, how outbox.Release) {
	t.Helper()
	s.note(t, note, []int64{head})
	if err := outbox.Of(s.db).ReleaseKey(t.Context(), "bad", head, how); err != nil {
		t.Fatal(err)
	}
}

// note writes a line of the test's own to the ledger.
func (s *scene) note(t *testing.T, kind string, fields ...any) {
	t.Helper()
	ledger, err := chaos.OpenLedger(s.ledger, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := ledger.Write(kind, fields...); err != nil {
		t.Fatal(err)
	}
	if err := ledger.Close(); err != nil {
		t.Fatal(err)
	}
}

// A key goes on once its head is dead, not before (35).
func TestSkippedHead(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		s := emptyScene(t, testdb.New(t, d))
		s.skip = chaos.MaxAttempts
		head := s.account(t, "bad", 6, never)
		s.account(t, "good", 20, 0)
		workers := s.crewOf(t, reliable.KeySkip, 2)
		s.until(t, func() bool { return len(s.runsOf(t, head)) > 5 })
		kill(t, workers[0])
		defer s.stop(t, workers[1])
		s.until(t, func() bool { return s.count(t, "outbox_entries WHERE dead_at IS NULL") == 0 })
		if dead, parked := s.count(t, "outbox_entries WHERE lane IS NULL"), s.count(t, "outbox_parked_keys"); dead != 1 || parked != 0 {
			t.Errorf("%d entries are dead and outside of the order, %d keys are parked; want 1, none", dead, parked)
		}
		s.judge(t)
	})
}

// kill ends a worker with SIGKILL.
func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wait(t, cmd)
}
