package chaos_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// killed are the points at which producers die.
var killed = []string{
	"capture.begun", "capture.written", "capture.recorded", "capture.committed", "capture.ended", "entries.sending", "entries.sent",
	"transaction.committing", "transaction.committed", "producer.committing", "producer.committed",
}

// An application is killed at every point around statement, entry and commit:
// what is committed has its entries, and nothing else has.
func TestKillProducer(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		r := draws(t)
		s := newShop(t, testdb.New(t, d))
		var sum tally
		for kill := range 3 * len(killed) * *rounds {
			point := fmt.Sprintf("%s:%d", killed[kill%len(killed)], 1+r.IntN(10))
			die(t, s.produce(t, point, kill, r.IntN(1_000_000)))
			sum.add(s.check(t))
		}
		t.Logf("%d operations acked, %d undone; of those in which the producer died %d were committed, %d not", sum.acked, sum.undone, sum.committed, sum.lost)
		if sum.committed == 0 || sum.lost == 0 {
			t.Error("both must occur: the test shows nothing")
		}
	})
}

func (sum *tally) add(s tally) {
	sum.acked += s.acked
	sum.undone += s.undone
	sum.committed += s.committed
	sum.lost += s.lost
}

// produce starts a producer, with operation numbers of its own, that dies at a
// failpoint.
func (s *shop) produce(t *testing.T, failpoint string, number, seed int) *exec.Cmd {
	t.Helper()
	log := new(bytes.Buffer)
	cmd := exec.Command(producer)
	cmd.Env = append(os.Environ(), "DATABASE_URL="+s.url.URL, "CHAOS_JOURNAL="+s.journal, "CHAOS_SEED="+strconv.Itoa(seed),
		"CHAOS_OPERATION="+strconv.Itoa(number*1_000_000), "CHAOS_OPERATIONS=1000", "RELIABLE_FAILPOINT="+failpoint)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // if it still runs
		if t.Failed() {
			t.Logf("producer at %q:\n%s", failpoint, log)
		}
	})
	return cmd
}
