package chaos_test

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/chaos"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// orderedSize is how much an ordered round is.
type orderedSize struct {
	accounts, each   int
	workers, threads int
	pace             time.Duration // of a callback
	faults           chaos.Faults
	every            time.Duration // a fault is due after this, or when its share of the work is done
}

// orderedRound is workers that work in order, under faults.
type orderedRound struct {
	orderedSize
	*scene

	dir     string
	env     []string                       // of the workers
	then    func(t *testing.T, faults int) // happens after each fault; nil is nothing
	notes   *chaos.Ledger
	workers *crew
	apart   sync.WaitGroup
}

func newOrderedRound(t *testing.T, d testdb.Dialect, size orderedSize, env ...string) *orderedRound {
	t.Helper()
	r := &orderedRound{orderedSize: size, scene: emptyScene(t, testdb.New(t, d)), dir: t.TempDir(), env: env}
	r.ledger = filepath.Join(r.dir, "ledger")
	notes, err := chaos.OpenLedger(r.ledger, 0)
	if err != nil {
		t.Fatal(err)
	}
	r.notes = notes
	t.Cleanup(func() { _ = notes.Close() })
	r.workers = &crew{command: r.worker, logs: r.dir, ledger: notes, numbers: new(atomic.Int64)}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("logs and ledger are in %s", keep(r.dir))
		}
	})
	return r
}

func (r *orderedRound) worker(process int) *exec.Cmd {
	cmd := exec.Command(victim)
	cmd.Env = append(os.Environ(), "DATABASE_URL="+r.address, "CHAOS_LEDGER="+r.ledger, "CHAOS_PACE="+r.pace.String(), "CHAOS_ORDERED=park",
		"CHAOS_PROCESS="+strconv.Itoa(process), "THREADS="+strconv.Itoa(r.threads), "RELIABLE_LEASE_TTL="+r.lease.String(),
		"RELIABLE_POLL_INTERVAL=20ms", "RELIABLE_BATCH_SIZE=200", "LOG_LEVEL=debug", "LOG_FORMAT=json")
	cmd.Env = append(cmd.Env, r.env...)
	endWithParent(cmd)
	return cmd
}

// run lets the workers do all the work, under the faults.
func (r *orderedRound) run(t *testing.T, draws *rand.Rand) {
	t.Helper()
	begun := time.Now()
	r.post(t, draws, r.accounts, r.each)
	posted := time.Since(begun)
	r.workers.man(t, r.orderedSize.workers)
	total, tick, last := r.accounts*r.each, time.NewTicker(r.every/50), time.Now()
	defer tick.Stop()
	faults := chaos.Schedule(draws.Uint64(), r.faults)
	deadline := time.After(settle + r.every*time.Duration(len(faults)))
	for struck, waiting := 0, total; waiting > 0 || struck < len(faults); {
		select {
		case <-tick.C:
		case <-deadline:
			r.workers.signal(syscall.SIGQUIT) // each tells what it does
			t.Fatalf("%d of %d entries wait, %d of %d faults happened", waiting, total, struck, len(faults))
		}
		if n, err := count(r.db, "outbox_entries"); err == nil {
			waiting = n
		}
		if struck < len(faults) && (float64(total-waiting) >= faults[struck].At*float64(total) || time.Since(last) > r.every) && r.strike(t, faults[struck]) {
			struck, last = struck+1, time.Now()
			if r.then != nil {
				r.then(t, struck)
			}
		}
	}
	r.apart.Wait()
	for _, fault := range r.workers.dismiss(syscall.SIGTERM) {
		t.Error("a worker: " + fault)
	}
	t.Logf("%d entries were committed in %.1f s, and done %.1f s later", total, posted.Seconds(), (time.Since(begun) - posted).Seconds())
}

// strike makes a fault happen. It returns false if there was nobody to hit.
func (r *orderedRound) strike(t *testing.T, f chaos.Fault) bool {
	t.Helper()
	p, process, _, ok := r.workers.hit(f.Pick, map[chaos.FaultKind]syscall.Signal{
		chaos.Kill: syscall.SIGKILL, chaos.Stop: syscall.SIGSTOP, chaos.Term: syscall.SIGTERM,
	}[f.Kind])
	if !ok {
		return false
	}
	if f.Kind == chaos.Stop {
		r.apart.Go(func() {
			<-time.After(3 * r.lease)
			p.resume()
		})
	}
	if err := r.notes.WriteOf(process, "fault", f.Kind); err != nil {
		t.Fatal(err)
	}
	return true
}

// judge holds all that the round left behind against the promise: every entry
// of every key is done, in order, and none at the same time as another.
func (r *orderedRound) judge(t *testing.T) *chaos.Report {
	t.Helper()
	h := r.history(t)
	report := chaos.Check(h, chaos.Facts{LeaseTTL: r.lease, MaxCrashes: 3, Bound: r.threads + 2*chaos.FinishGroup, Entries: facts(t, r.db)})
	for i, fault := range report.Faults {
		if i == 20 {
			t.Errorf("and %d more", len(report.Faults)-i)
			break
		}
		t.Error(fault)
	}
	if n := r.count(t, "outbox_history"); n != r.accounts*r.each || report.Entries != n || report.Keys != r.accounts {
		t.Errorf("%d of %d entries are done, of %d keys; want %d of %d", n, report.Entries, report.Keys, r.accounts*r.each, r.accounts)
	}
	for kind, n := range r.faults {
		if h.Fault[string(kind)] != int64(n) {
			t.Errorf("%d times %s, want %d", h.Fault[string(kind)], kind, n)
		}
	}
	again := 0
	for _, n := range report.Duplicates {
		again += n
	}
	failed := 0
	for _, run := range h.Runs {
		if run.Result == "failed" {
			failed++
		}
	}
	t.Logf("%d keys, %d entries, %d runs failed, %v; %d ran again, %d out of order, %d at a time, %d lost",
		report.Keys, report.Entries, failed, h.Fault, again, report.Disorders, report.Overlaps, report.Lost)
	return report
}

// A Locker that grants everything to everybody, four processes that are killed,
// stopped and replaced, and one attempt in ten that fails: no key is ever out
// of order, nor run twice at a time (30, 36).
func TestLockerThatAlwaysSaysYes(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		size := orderedSize{50, 40, 4, 4, time.Millisecond, chaos.Faults{chaos.Kill: 5, chaos.Stop: 1, chaos.Term: 2}, 2 * time.Second}
		if d == testdb.SQLite {
			size.workers, size.accounts, size.faults = 2, 25, chaos.Faults{chaos.Kill: 3, chaos.Stop: 1, chaos.Term: 1}
		}
		r := newOrderedRound(t, d, size, "CHAOS_LOCKER=yes")
		r.run(t, draws(t))
		r.judge(t)
	})
}

// Many keys, and a worker that is killed every two seconds: with -push, it is
// a thousand keys of a hundred entries on PostgreSQL (30, 37).
func TestOrderedRound(t *testing.T) {
	sizes := map[testdb.Dialect]orderedSize{
		testdb.Postgres: {200, 20, 4, 8, time.Millisecond, chaos.Faults{chaos.Kill: 6, chaos.Stop: 1, chaos.Term: 2}, 2 * time.Second},
		testdb.MySQL:    {150, 20, 3, 4, time.Millisecond, chaos.Faults{chaos.Kill: 4, chaos.Stop: 1, chaos.Term: 1}, 2 * time.Second},
		testdb.SQLite:   {100, 10, 2, 4, time.Millisecond, chaos.Faults{chaos.Kill: 3, chaos.Term: 1}, 2 * time.Second},
	}
	if *push {
		sizes = map[testdb.Dialect]orderedSize{
			testdb.Postgres: {1000, 100, 4, 8, 2 * time.Millisecond, chaos.Faults{chaos.Kill: 40, chaos.Stop: 5, chaos.Term: 5}, 2 * time.Second},
			testdb.MySQL:    {500, 40, 4, 8, 2 * time.Millisecond, chaos.Faults{chaos.Kill: 15, chaos.Stop: 2, chaos.Term: 3}, 2 * time.Second},
			testdb.SQLite:   {200, 40, 2, 4, time.Millisecond, chaos.Faults{chaos.Kill: 10, chaos.Stop: 1, chaos.Term: 2}, 2 * time.Second},
		}
	}
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		r := newOrderedRound(t, d, sizes[d])
		r.run(t, draws(t))
		r.judge(t)
	})
}
