package chaos_test

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// An entry that kills every worker that runs it, in whatever way, is found out:
// it is dead after the third crash that it was alone in, and no other entry is
// blamed (40).
func TestPoison(t *testing.T) {
	ways := map[testdb.Dialect][]string{
		testdb.Postgres: {"kill", "exit", "map"},
		testdb.MySQL:    {"kill", "child"},
		testdb.SQLite:   {"kill", "overflow", "memory"},
	}
	says := map[string]string{ // on standard error
		"map": "fatal error: concurrent map", "child": "panic: in a child", "overflow": "stack overflow", "memory": "out of memory",
	}
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		for _, how := range ways[d] {
			t.Run(how, func(t *testing.T) {
				s := newScene(t, testdb.New(t, d))
				s.lease = 300 * time.Millisecond
				t.Setenv("CHAOS_POISON", "20:"+how)
				const kills = 1 + 3 // in a batch, then alone
				for range kills {
					cmd, log := s.start(t, "", "1ms")
					wait(t, cmd)
					if code := cmd.ProcessState.ExitCode(); code != map[string]int{"kill": -1, "exit": 7}[how] && code != 2 || !strings.Contains(log.String(), says[how]) {
						t.Fatalf("the worker ended with %s, want it killed by the callback: %s", cmd.ProcessState, log)
					}
				}
				t.Setenv("CHAOS_POISON", "")
				last, log := s.start(t, "", "0s")
				s.until(t, func() bool {
					return s.count(t, "outbox_entries") == 1 && s.count(t, "outbox_entries WHERE resource_id = '20' AND dead_at IS NOT NULL AND crashes = 3") == 1
				})
				s.stop(t, last)
				if v := s.verdict(t); v.Done != 2*(orders-1) || len(v.Faults) > 0 {
					t.Errorf("%d callbacks done, faults %q; want those of all other orders, %d", v.Done, v.Faults, 2*(orders-1))
				}
				if n := s.count(t, "outbox_history WHERE crashes > 0 OR attempts > 0"); n != 0 {
					t.Errorf("%d other entries were blamed, want 0", n)
				}
				if told := log.String(); !strings.Contains(told, "entry_died") || !strings.Contains(told, "died=1") {
					t.Errorf("the death is not told in\n%s", log)
				}
				s.judge(t)
			})
		}
	})
}

// A callback that fails in a way that can be survived fails alone: the worker
// lives, the failure is stored, whatever its text, and all else is done (40, 44).
func TestMisbehave(t *testing.T) {
	tests := []struct{ how, stored string }{
		{"panic", "panic: poison"}, {"nil", "panic"}, {"badpanic", "panic"}, {"badkind", ""}, {"goexit", "Goexit"}, {"huge", "huge huge"}, {"bytes", "not UTF-8"},
	}
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		for _, test := range tests {
			t.Run(test.how, func(t *testing.T) {
				s := newScene(t, testdb.New(t, d))
				t.Setenv("CHAOS_POISON", "20:"+test.how)
				cmd, _ := s.start(t, "", "0s")
				s.until(t, func() bool {
					return s.count(t, "outbox_history") == orders-1 && s.count(t, "outbox_entries WHERE attempts > 0") == 1
				})
				s.stop(t, cmd)
				var failed struct{ ResourceID, ErrorClass, ErrorMessage, Callbacks string }
				if err := s.db.Raw("SELECT resource_id, error_class, error_message, callbacks FROM outbox_entries").Scan(&failed).Error; err != nil {
					t.Fatal(err)
				}
				if failed.ResourceID != "20" || failed.ErrorClass == "" || !strings.Contains(failed.ErrorMessage, test.stored) ||
					len(failed.ErrorMessage) > 8<<10 || strings.ContainsRune(failed.ErrorMessage, 0) {
					t.Errorf("stored is %.300q (%d bytes) of order %s, class %q; want order 20, %q in it, at most 8 KiB without NUL",
						failed.ErrorMessage, len(failed.ErrorMessage), failed.ResourceID, failed.ErrorClass, test.stored)
				}
				if n := s.count(t, "outbox_history WHERE crashes > 0 OR attempts > 0"); n != 0 {
					t.Errorf("%d other entries were blamed, want 0", n)
				}
			})
		}
	})
}

// Subscribers that panic, block for ever or end their goroutine change nothing
// (45).
func TestBadSubscribers(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		s := newScene(t, testdb.New(t, d))
		t.Setenv("CHAOS_POISON", "20:monitor")
		cmd, _ := s.start(t, "", "1ms")
		s.until(t, func() bool { return s.count(t, "outbox_entries") == 0 })
		s.stop(t, cmd)
		s.check(t, 0)
	})
}

// A callback that hangs until its context ends is a timeout, which counts (41).
func TestHang(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		s := newScene(t, testdb.New(t, d))
		t.Setenv("CHAOS_POISON", "20:hang")
		t.Setenv("RELIABLE_CALLBACK_TIMEOUT", "200ms")
		cmd, _ := s.start(t, "", "0s")
		s.until(t, func() bool {
			return s.count(t, "outbox_history") == orders-1 && s.count(t, "outbox_entries WHERE resource_id = '20' AND attempts = 1 AND error_message LIKE '%200ms%'") == 1
		})
		s.stop(t, cmd)
	})
}

// A callback that hangs for ever and heeds nothing keeps its thread and its
// entry: the lease is renewed, nobody else runs the entry, the others are done.
// The worker says so when it is asked to end, and another one takes over when the
// lease is over: the callback may run until the process ends (41, 13).
func TestDeaf(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		s := newScene(t, testdb.New(t, d))
		t.Setenv("RELIABLE_SHUTDOWN_TIMEOUT", "1500ms")
		t.Setenv("RELIABLE_CALLBACK_TIMEOUT", "100ms")
		t.Setenv("CHAOS_POISON", "20:deaf")
		deaf, log := s.start(t, "", "0s")
		s.until(t, func() bool { return len(s.runs(t, "20", deaf)) == 1 && s.count(t, "outbox_history") == orders-1 })
		t.Setenv("CHAOS_POISON", "")
		other, _ := s.start(t, "", "0s")
		beats := func(cmd *exec.Cmd) int { return len(s.history(t).Beats[cmd.Process.Pid]) }
		before := beats(deaf)
		s.until(t, func() bool { return beats(deaf) >= before+6 && beats(other) >= 6 }) // two leases
		if n := len(s.runs(t, "20", nil)); n != 1 {
			t.Errorf("order 20 ran %d times while the first run went on, want once", n)
		}
		terminate(t, deaf)
		wait(t, deaf)
		if code := deaf.ProcessState.ExitCode(); code != 1 || !strings.Contains(log.String(), "ignore") {
			t.Errorf("the worker ended with %s, want exit code 1 and a reason\n%s", deaf.ProcessState, log)
		}
		s.until(t, func() bool { return s.count(t, "outbox_entries") == 0 })
		s.stop(t, other)
		s.check(t, 1)
	})
}

// Callbacks that write what owes callbacks again, without end, are stopped by
// the depth of their causation (43).
func TestLoop(t *testing.T) {
	const deepest = 32
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		s := newScene(t, testdb.New(t, d))
		t.Setenv("CHAOS_POISON", "20:loop")
		cmd, _ := s.start(t, "", "0s")
		s.until(t, func() bool {
			return s.count(t, "outbox_entries") == 1 && s.count(t, "outbox_entries WHERE attempts > 0 AND error_message LIKE '%deep%'") == 1
		})
		s.stop(t, cmd)
		if made := s.count(t, "orders") - orders; made != deepest {
			t.Errorf("the loop made %d orders, want %d", made, deepest)
		}
	})
}
