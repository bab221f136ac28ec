package chaos_test

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

func terminate(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// SIGTERM while a callback takes longer than the drain may, three leases here:
// the lease is renewed until the callback was cancelled, so that nobody else
// starts it meanwhile. Then it runs again, and no attempt is burnt (13).
func TestDrainTooLong(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		s := newScene(t, testdb.New(t, d))
		t.Setenv("RELIABLE_SHUTDOWN_TIMEOUT", "3s")
		t.Setenv("CHAOS_POISON", "20:hang")
		first, _ := s.start(t, "", "0s")
		s.until(t, func() bool { return len(s.runs(t, "20", first)) == 1 && s.count(t, "outbox_history") == orders-1 })
		t.Setenv("CHAOS_POISON", "")
		second, _ := s.start(t, "", "0s")
		s.registered(t, second)
		s.stop(t, first) // checks that it ends clean
		s.until(t, func() bool { return s.count(t, "outbox_entries") == 0 })
		s.stop(t, second)
		runs := s.runs(t, "20", nil)
		if len(runs) != 3 || runs[0].Result != "failed" || runs[1].Start < runs[0].End {
			t.Fatalf("order 20 ran as %+v, want one run that was cancelled, then both callbacks", runs)
		}
		if n := s.count(t, "outbox_history WHERE attempts > 0 OR crashes > 0"); n != 0 {
			t.Errorf("%d entries were blamed, want 0", n)
		}
		if v := s.verdict(t); v.Done != 2*orders || v.Duplicates != 0 {
			t.Errorf("%d callbacks done, %d entries ran again; want %d, none", v.Done, v.Duplicates, 2*orders)
		}
	})
}

// Signals that come several at a time mean one clean stop (14).
func TestManySignals(t *testing.T) {
	for name, signals := range map[string][]syscall.Signal{
		"SIGTERM five times":           {syscall.SIGTERM, syscall.SIGTERM, syscall.SIGTERM, syscall.SIGTERM, syscall.SIGTERM},
		"SIGINT and SIGTERM":           {syscall.SIGINT, syscall.SIGTERM},
		"SIGTERM, SIGINT, and SIGTERM": {syscall.SIGTERM, syscall.SIGINT, syscall.SIGTERM},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, testdb.New(t, testdb.Postgres))
			cmd, log := s.start(t, "", "3ms")
			s.until(t, func() bool { return s.verdict(t).Done > 20 })
			for _, signal := range signals {
				if err := cmd.Process.Signal(signal); err != nil {
					t.Fatal(err)
				}
			}
			wait(t, cmd)
			said := log.String()
			if code := cmd.ProcessState.ExitCode(); code != 0 || strings.Count(said, "msg=stopped") != 1 || strings.Contains(said, "panic") {
				t.Errorf("ended with %s, want exit code 0 and one stop\n%s", cmd.ProcessState, said)
			}
			s.drain(t)
			s.check(t, 0)
		})
	}
}

// SIGTERM at any moment of the start is a stop that leaves nothing behind (14).
func TestSignalWhileStarting(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		r := draws(t)
		s := newScene(t, testdb.New(t, d))
		for range 12 {
			cmd, log := s.start(t, "", "20ms")
			<-time.After(time.Duration(r.IntN(120)) * time.Millisecond)
			terminate(t, cmd)
			wait(t, cmd)
			status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
			early := status.Signaled() && status.Signal() == syscall.SIGTERM && log.Len() == 0 // before main
			if code := cmd.ProcessState.ExitCode(); code != 0 && !early {
				t.Fatalf("ended with %s, want exit code 0\n%s", cmd.ProcessState, log)
			}
			if n := s.count(t, "outbox_claims") + s.count(t, "outbox_workers"); n != 0 {
				t.Fatalf("%d rows of the stopped worker are left, want 0\n%s", n, log)
			}
		}
		s.drain(t)
		s.check(t, 0)
	})
}
