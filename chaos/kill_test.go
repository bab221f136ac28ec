package chaos_test

import (
	"strings"
	"syscall"
	"testing"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// orders is how many changes each test commits.
const orders = 100

// A worker is killed at every point around claim, callback and finish: nothing
// is lost, little runs again, all of it under a higher token.
func TestKill(t *testing.T) {
	points := []string{
		"claim.selected", "claim.inserted", "claim.committed:2", "callback.before", "callback.before:30", "callback.after", "callback.after:30",
		"finish.fenced:2", "finish.written", "finish.written:3", "finish.committed", "finish.committed:3", "heartbeat.before",
	}
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		for _, point := range points {
			if d == testdb.Postgres && strings.HasPrefix(point, "finish.") && !strings.HasPrefix(point, "finish.committed") {
				continue // fence and finish are one statement there
			}
			t.Run(point, func(t *testing.T) {
				s := newScene(t, testdb.New(t, d))
				pace := "3ms"
				if point == "heartbeat.before" { // the first comes when a third of the lease is over
					pace = "20ms"
				}
				cmd, _ := s.start(t, point, pace)
				die(t, cmd)
				s.drain(t)
				s.check(t, 1)
			})
		}
	})
}

// The rescuer is killed, too.
func TestKillRescue(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		s := newScene(t, testdb.New(t, d))
		first, _ := s.start(t, "callback.after:10", "3ms")
		die(t, first)
		second, _ := s.start(t, "rescue.before_commit", "3ms")
		die(t, second)
		s.drain(t)
		s.check(t, 2)
	})
}

// SIGTERM costs nothing: no entry runs again, no attempt is burnt, exit code 0.
func TestTerminate(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		s := newScene(t, testdb.New(t, d))
		for range 3 {
			before := s.verdict(t).Done
			cmd, _ := s.start(t, "", "3ms")
			s.until(t, func() bool { return s.verdict(t).Done > before+20 })
			s.stop(t, cmd)
			if n := s.count(t, "outbox_claims") + s.count(t, "outbox_workers"); n != 0 {
				t.Errorf("%d rows of the stopped worker are left, want 0", n)
			}
		}
		if s.count(t, "outbox_entries") == 0 {
			t.Fatal("nothing was left when the workers were stopped: the test shows nothing")
		}
		s.drain(t)
		s.check(t, 0)
	})
}

// A worker that is killed while it drains has lost nothing either.
func TestKillWhileDraining(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		s := newScene(t, testdb.New(t, d))
		cmd, _ := s.start(t, "release.before", "3ms")
		s.until(t, func() bool { return s.verdict(t).Done > 20 })
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		die(t, cmd)
		s.drain(t)
		s.check(t, 1)
	})
}
