package chaos_test

import (
	"strings"
	"testing"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// An entry that kills every worker that runs it is found out: it is dead after
// the third crash that it was alone in, and no other entry is blamed.
func TestPoison(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		s := newScene(t, testdb.New(t, d))
		t.Setenv("CHAOS_POISON", "20")
		const kills = 1 + 3 // in a batch, then alone
		for range kills {
			cmd, _ := s.start(t, "", "1ms")
			die(t, cmd)
		}
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
	})
}
