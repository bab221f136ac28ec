package chaos_test

import (
	"fmt"
	"testing"

	"github.com/gorm-aftercommit/aftercommit/chaos"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// What RunTx writes is there exactly once, wherever a worker is killed: before
// the COMMIT it and the entry's state are gone, after it both are there. Each
// entry has two, so that the odd COMMITs are of entries that owe more.
func TestKillTeller(t *testing.T) {
	points := []string{"runtx.finished", "runtx.finished:40", "runtx.committed", "runtx.committed:40", "finish.committed:2"}
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		for _, point := range points {
			t.Run(point, func(t *testing.T) {
				s := newScene(t, testdb.New(t, d))
				s.program = teller
				if err := s.db.AutoMigrate(&chaos.Booking{}); err != nil {
					t.Fatal(err)
				}
				cmd, _ := s.start(t, point, "0s")
				die(t, cmd)
				if s.count(t, "outbox_entries") == 0 {
					t.Fatal("nothing was left for the next worker: the test shows nothing")
				}
				s.drain(t)
				for _, name := range []string{"first", "second"} {
					made := s.count(t, fmt.Sprintf("bookings WHERE callback = '%s'", name))
					booked := s.count(t, fmt.Sprintf("(SELECT DISTINCT order_id FROM bookings WHERE callback = '%s') AS booked", name))
					if made != orders || booked != orders {
						t.Errorf("%s made %d bookings of %d orders, want %d of %d", name, made, booked, orders, orders)
					}
				}
				if n := s.count(t, "outbox_history WHERE attempts = 0 AND crashes = 0"); n != orders {
					t.Errorf("history has %d entries with nothing burnt, want %d", n, orders)
				}
			})
		}
	})
}
