package chaos_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/chaos"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// scene is a database with work, and the ledger of the workers.
type scene struct {
	url     testdb.DB
	address string // of the database, for workers
	db      *gorm.DB
	ledger  string
	lease   time.Duration
	skip    int    // as in chaos.Facts
	program string // of the workers; empty is victim
}

func newScene(t *testing.T, url testdb.DB) *scene {
	t.Helper()
	s := emptyScene(t, url)
	batch := make([]chaos.Order, orders)
	if err := s.db.Create(&batch).Error; err != nil {
		t.Fatal(err)
	}
	return s
}

// emptyScene has no work yet.
func emptyScene(t *testing.T, url testdb.DB) *scene {
	t.Helper()
	s := &scene{url: url, address: url.URL, ledger: filepath.Join(t.TempDir(), "ledger"), lease: time.Second}
	s.db = s.url.Open(t)
	registry := chaos.Callbacks(chaos.Idle)
	if err := errors.Join(s.db.AutoMigrate(&chaos.Order{}, &chaos.Posting{}), s.db.Use(reliable.New(reliable.Config{Registry: registry})),
		migrations.Up(t.Context(), s.db)); err != nil {
		t.Fatal(err)
	}
	return s
}

// start runs a worker that dies at a failpoint, if one is named.
func (s *scene) start(t *testing.T, failpoint, pace string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	log := new(bytes.Buffer)
	cmd := exec.Command(cmp.Or(s.program, victim))
	cmd.Env = append(os.Environ(), "DATABASE_URL="+s.address, "CHAOS_LEDGER="+s.ledger, "CHAOS_PACE="+pace, "RELIABLE_FAILPOINT="+failpoint,
		"THREADS="+strconv.Itoa(chaos.Threads), "RELIABLE_LEASE_TTL="+s.lease.String(), "RELIABLE_POLL_INTERVAL=20ms", "RELIABLE_BATCH_SIZE=40")
	cmd.Stderr = log
	endWithParent(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			_ = cmd.Process.Kill() // if it still runs
			return
		}
		if cmd.ProcessState == nil { // or else it was waited for
			defer time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() }).Stop()
			_ = errors.Join(cmd.Process.Signal(syscall.SIGQUIT), cmd.Process.Signal(syscall.SIGCONT)) // it tells what it does
			_ = cmd.Wait()
		}
		t.Logf("worker at %q:\n%s", failpoint, log)
	})
	return cmd, log
}

// wait waits for a worker's end, and notes it in the ledger.
func wait(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	stuck := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Signal(syscall.SIGABRT) })
	defer stuck.Stop()
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	for _, variable := range cmd.Env {
		if path, ok := strings.CutPrefix(variable, "CHAOS_LEDGER="); ok {
			ledger, err := chaos.OpenLedger(path, cmd.Process.Pid)
			if err == nil {
				err = errors.Join(ledger.Write("exit", ending(cmd)), ledger.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// ending says how a process ended, as a ledger does.
func ending(cmd *exec.Cmd) string {
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case status.Signaled() && status.Signal() == syscall.SIGKILL:
		return "killed"
	case cmd.ProcessState.ExitCode() != 0:
		return "failed"
	default:
		return "clean"
	}
}

// die waits until a worker has killed itself.
func die(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	wait(t, cmd)
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		t.Fatalf("the worker ended with %s, want SIGKILL at its failpoint", cmd.ProcessState)
	}
}

// drain runs a worker until nothing is left, and stops it.
func (s *scene) drain(t *testing.T) {
	t.Helper()
	cmd, _ := s.start(t, "", "0s")
	s.registered(t, cmd)
	s.until(t, func() bool { return s.count(t, "outbox_entries") == 0 })
	s.stop(t, cmd)
}

// registered waits until a worker has begun.
func (s *scene) registered(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	row := "outbox_workers WHERE pid = " + strconv.Itoa(cmd.Process.Pid)
	s.until(t, func() bool { return s.count(t, row) == 1 })
}

// stop ends a worker with SIGTERM.
func (s *scene) stop(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	wait(t, cmd)
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("after SIGTERM the worker ended with %s, want exit code 0", cmd.ProcessState)
	}
}

// until waits for ok; a minute without it fails the test.
func (s *scene) until(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within a minute: %d entries are left", s.count(t, "outbox_entries"))
		}
	}
}

func (s *scene) count(t *testing.T, from string) (n int) {
	t.Helper()
	if err := s.db.Raw("SELECT count(*) FROM " + from).Scan(&n).Error; err != nil {
		t.Fatal(err)
	}
	return n
}

func (s *scene) verdict(t *testing.T) chaos.Verdict {
	t.Helper()
	v, err := chaos.Read(s.ledger)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// check holds the promise against ledger and tables after a number of kills.
func (s *scene) check(t *testing.T, kills int) {
	t.Helper()
	v := s.verdict(t)
	most := kills * (chaos.Threads + 2*chaos.FinishGroup)
	if v.Done != 2*orders || v.Duplicates > most || len(v.Faults) > 0 {
		t.Errorf("%d callbacks done, %d entries ran again, faults %q; want %d, at most %d, none", v.Done, v.Duplicates, v.Faults, 2*orders, most)
	}
	if n := s.count(t, "outbox_history"); n != orders {
		t.Errorf("history has %d entries, want %d", n, orders)
	}
	if n := s.count(t, "outbox_claims"); n != 0 {
		t.Errorf("%d claims are left, want 0", n)
	}
	if n := s.count(t, "outbox_history WHERE attempts > 0 OR crashes > 0"); n != 0 {
		t.Errorf("%d entries were blamed for a kill, want 0", n)
	}
	s.judge(t)
	t.Logf("%d entries ran again after %d kills", v.Duplicates, kills)
}

// judge holds ledger and tables against the invariants.
func (s *scene) judge(t *testing.T) *chaos.Report {
	t.Helper()
	h := s.history(t)
	report := chaos.Check(h, chaos.Facts{LeaseTTL: s.lease, MaxCrashes: 3, Bound: chaos.Bound, Skip: s.skip, Entries: facts(t, s.db)})
	for _, fault := range report.Faults {
		t.Error(fault)
	}
	return report
}

func (s *scene) history(t *testing.T) *chaos.History {
	t.Helper()
	h, err := chaos.ReadLedger(s.ledger)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// runs returns the runs for an order, of one worker or, if that is nil, of all.
func (s *scene) runs(t *testing.T, order string, worker *exec.Cmd) (found []*chaos.Run) {
	t.Helper()
	for _, r := range s.history(t).Runs {
		if r.Subject == order && (worker == nil || r.Worker == worker.Process.Pid) {
			found = append(found, r)
		}
	}
	return found
}

// facts reads what became of every entry.
func facts(t *testing.T, db *gorm.DB) []chaos.EntryFact {
	t.Helper()
	var all []chaos.EntryFact
	for _, from := range []string{"0 AS done, dead_at IS NOT NULL AS dead FROM outbox_entries", "1 AS done, 1 = 0 AS dead FROM outbox_history"} {
		var rows []struct {
			ID                int64
			Owed              string
			OrderedBy         string
			Attempts, Crashes int
			Done              int
			Dead              bool
		}
		if err := db.Raw("SELECT id, owed, coalesce(causality_key, '') AS ordered_by, attempts, crashes, " + from).Scan(&rows).Error; err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			f := chaos.EntryFact{ID: row.ID, Key: row.OrderedBy, Attempts: row.Attempts, Crashes: row.Crashes, Done: row.Done == 1, Dead: row.Dead}
			if err := json.Unmarshal([]byte(row.Owed), &f.Owed); err != nil {
				t.Fatal(err)
			}
			all = append(all, f)
		}
	}
	return all
}
