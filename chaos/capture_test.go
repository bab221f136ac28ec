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

// An application is killed at every point around statement, entry and commit:
// what is committed has its entries, and nothing else has.
func TestKillProducer(t *testing.T) {
	points := []string{"capture.begun", "capture.written", "entries.sending", "entries.sent", "capture.recorded", "capture.committed"}
	for name, mode := range map[string]struct {
		single bool
		points []string
	}{
		"without transactions": {true, points},
		"any way": {false, append(points, "capture.ended", "transaction.committing", "transaction.committed",
			"producer.committing", "producer.committed")},
	} {
		t.Run(name, func(t *testing.T) {
			testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
				r := draws(t)
				s := newShop(t, testdb.New(t, d))
				var sum tally
				most := 2 * len(mode.points) * *rounds
				for kill := 0; kill < most || kill < 5*most && (sum.committed == 0 || sum.lost == 0); kill++ { // an operation may change nothing
					point := fmt.Sprintf("%s:%d", mode.points[kill%len(mode.points)], 1+r.IntN(10))
					die(t, s.produce(t, point, kill, r.IntN(1_000_000), mode.single))
					sum.add(s.check(t))
				}
				t.Logf("%d operations acked, %d undone; of those in which the producer died %d were committed, %d not", sum.acked, sum.undone, sum.committed, sum.lost)
				if sum.committed == 0 || sum.lost == 0 {
					t.Error("both must occur: the test shows nothing")
				}
			})
		})
	}
}

func (sum *tally) add(s tally) {
	sum.acked += s.acked
	sum.undone += s.undone
	sum.committed += s.committed
	sum.lost += s.lost
}

// produce starts a producer, with operation numbers of its own, that dies at a
// failpoint.
func (s *shop) produce(t *testing.T, failpoint string, number, seed int, single bool) *exec.Cmd {
	t.Helper()
	log := new(bytes.Buffer)
	cmd := exec.Command(producer)
	cmd.Env = append(os.Environ(), "DATABASE_URL="+s.url.URL, "CHAOS_JOURNAL="+s.journal, "CHAOS_SEED="+strconv.Itoa(seed),
		"CHAOS_OPERATION="+strconv.Itoa(number*1_000_000), "CHAOS_OPERATIONS=1000", "CHAOS_SINGLE="+strconv.FormatBool(single), "RELIABLE_FAILPOINT="+failpoint)
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
