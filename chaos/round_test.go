package chaos_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/chaos"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb/proxy"
)

const (
	roundLease = time.Second     // of the workers of a round
	settle     = 2 * time.Minute // in which the backlog must be gone once the faults stop
	backlog    = 1500            // entries that wait, from which on the applications pause
)

// size is how much a round is.
type size struct {
	entries   int
	workers   int
	producers int
	faults    chaos.Faults
	budget    time.Duration // faults that are not due by then come all the same
}

// round is workers, applications and a database of their own, and what is done
// to them.
type round struct {
	size

	seed    uint64
	service testdb.Service
	server  *testdb.Server // nil for SQLite
	proxy   *proxy.Proxy   // nil for SQLite
	shop    *shop
	dir     string
	ledger  *chaos.Ledger

	workers, producers *crew
	gate               atomic.Bool // applications may write
	enough             atomic.Bool // they may end
	apart              sync.WaitGroup

	begun         time.Time
	done, waiting int
	victim        string // the database's address, by way of the proxy
}

func newRound(t *testing.T, d testdb.Dialect, seed uint64, s size) *round {
	t.Helper()
	r := &round{size: s, seed: seed, dir: t.TempDir(), begun: time.Now()}
	var url testdb.DB
	if d == testdb.SQLite {
		url = testdb.New(t, d)
		r.victim = url.URL
	} else {
		r.service = map[testdb.Dialect]testdb.Service{testdb.Postgres: testdb.PostgreSQL, testdb.MySQL: testdb.MariaDB}[d]
		r.server = testdb.Start(t, r.service)
		url = r.server.New(t)
		r.proxy = proxy.Start(t, r.service, url.URL)
		r.victim = r.proxy.URL(stranger(t, url))
	}
	r.shop = newShop(t, url)
	r.shop.log.Worked()
	r.shop.journal = filepath.Join(r.dir, "journal")
	ledger, err := chaos.OpenLedger(filepath.Join(r.dir, "ledger"), 0)
	if err != nil {
		t.Fatal(err)
	}
	r.ledger = ledger
	t.Cleanup(func() { _ = ledger.Close() })
	var numbers atomic.Int64
	r.workers = &crew{command: r.worker, logs: r.dir, ledger: ledger, numbers: &numbers}
	r.producers = &crew{command: r.producer, attend: r.feed, logs: r.dir, ledger: ledger, numbers: &numbers}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("replay with -seed %d; logs and ledger are in %s", seed, keep(r.dir))
		}
	})
	return r
}

func (r *round) worker(process int) *exec.Cmd {
	cmd := exec.Command(victim)
	cmd.Env = append(os.Environ(), "DATABASE_URL="+r.victim, "CHAOS_LEDGER="+filepath.Join(r.dir, "ledger"), "CHAOS_PACE=1ms", "CHAOS_FAIL=50",
		"CHAOS_PROCESS="+strconv.Itoa(process), "THREADS="+strconv.Itoa(chaos.Threads), "RELIABLE_LEASE_TTL="+roundLease.String(),
		"RELIABLE_POLL_INTERVAL=20ms", "RELIABLE_BATCH_SIZE=40", "LOG_LEVEL=debug", "LOG_FORMAT=json")
	endWithParent(cmd)
	return cmd
}

func (r *round) producer(process int) *exec.Cmd {
	cmd := exec.Command(producer)
	cmd.Env = append(os.Environ(), "DATABASE_URL="+r.victim, "CHAOS_JOURNAL="+r.shop.journal, "CHAOS_SEED="+strconv.FormatUint(r.seed+uint64(process), 10),
		"CHAOS_OPERATION="+strconv.Itoa(process*1_000_000), "CHAOS_OPERATIONS=0", "CHAOS_PACED=true")
	endWithParent(cmd)
	return cmd
}

// feed lets an application do one operation after the other while the gate is
// open.
func (r *round) feed(p *post, in io.WriteCloser, out io.Reader) {
	defer func() { _ = in.Close() }()
	wait := time.NewTicker(10 * time.Millisecond)
	defer wait.Stop()
	for one := make([]byte, 1); ; {
		switch {
		case r.enough.Load():
			p.leave()
			return
		case r.gate.Load():
			if _, err := in.Write(one); err != nil {
				return
			}
			if _, err := out.Read(one); err != nil {
				return
			}
		default:
			<-wait.C
		}
	}
}

// look counts what is done and what waits. A database that is away leaves the
// numbers as they were.
func (r *round) look() {
	waiting, err := count(r.shop.db, "outbox_entries WHERE dead_at IS NULL")
	if err != nil {
		return
	}
	done, err := count(r.shop.db, "outbox_history")
	if err != nil {
		return
	}
	r.done, r.waiting = done, waiting
	r.gate.Store(waiting < backlog)
}

func count(db *gorm.DB, from string) (n int, err error) {
	err = db.Raw("SELECT count(*) FROM " + from).Scan(&n).Error
	return n, err
}

// run does the round, and adds it to a table.
func (r *round) run(t *testing.T, all *table) {
	t.Helper()
	r.workers.man(t, r.size.workers)
	r.producers.man(t, r.size.producers)
	faults := chaos.Schedule(r.seed, r.faults)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	last, told := time.Now(), time.Now()
	for next := 0; next < len(faults) || r.cutsDue() > 0 || r.done+r.waiting < r.entries; <-tick.C {
		r.look()
		if time.Since(told) > 15*time.Second {
			told = time.Now()
			t.Logf("%4.0f s: %d entries done, %d wait, %d of %d faults", time.Since(r.begun).Seconds(), r.done, r.waiting, next, len(faults))
		}
		if time.Since(r.begun) > r.budget+settle {
			t.Fatalf("after %s: %d entries are done, %d wait, and %d of %d faults happened", time.Since(r.begun), r.done, r.waiting, next, len(faults))
		}
		if next == len(faults) {
			if r.cutsDue() > 0 {
				r.strike(t, chaos.Fault{Kind: chaos.Cut, Pick: uint64(r.done)})
			}
			continue
		}
		patience := max(r.budget-time.Since(r.begun), 0) / time.Duration(len(faults)-next)
		if f := faults[next]; float64(r.done) >= f.At*float64(r.entries) || time.Since(last) > patience {
			if r.strike(t, f) {
				next, last = next+1, time.Now()
			}
		}
	}
	r.apart.Wait()
	r.enough.Store(true)
	r.settle(t)
	r.judge(t, all)
}

// cutsDue returns how many connections are still to be cut: one may end before
// the answer comes that is not to be heard.
func (r *round) cutsDue() int {
	if r.proxy == nil {
		return 0
	}
	return r.faults[chaos.Cut] + r.faults[chaos.Unheard] - r.proxy.Cuts()
}

// strike makes a fault happen. It returns false if there was nobody to hit.
func (r *round) strike(t *testing.T, f chaos.Fault) bool {
	t.Helper()
	process, ok := 0, false
	switch f.Kind {
	case chaos.Kill:
		_, process, _, ok = r.workers.hit(f.Pick, syscall.SIGKILL)
	case chaos.KillProducer:
		_, process, _, ok = r.producers.hit(f.Pick, syscall.SIGKILL)
	case chaos.Term:
		_, process, _, ok = r.workers.hit(f.Pick, syscall.SIGTERM)
	case chaos.Stop:
		var p *post
		if p, process, _, ok = r.workers.hit(f.Pick, syscall.SIGSTOP); ok {
			r.apart.Go(func() {
				<-time.After(3 * roundLease)
				p.resume()
			})
		}
	case chaos.KillDatabase:
		r.server.Kill()
		if err := r.server.Restart(); err != nil {
			t.Fatal(err)
		}
		ok = true
	case chaos.Cut, chaos.Unheard:
		ok = r.proxy.CutOne(func(n int) int { return int(f.Pick % uint64(n)) }, f.Kind == chaos.Unheard)
	}
	if !ok {
		return false
	}
	if err := r.ledger.WriteOf(process, "fault", f.Kind); err != nil {
		t.Fatal(err)
	}
	return true
}

// settle waits until the applications have ended, nothing waits, and only the
// workers that live have a row (I7). Then it ends the workers.
func (r *round) settle(t *testing.T) {
	t.Helper()
	for _, fault := range r.producers.dismiss(0) {
		t.Error("an application: " + fault)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(settle)
	for workers := -1; workers != r.size.workers || r.waiting > 0; {
		select {
		case <-tick.C:
			r.look()
			if n, err := count(r.shop.db, "outbox_workers"); err == nil {
				workers = n
			}
		case <-deadline:
			r.workers.signal(syscall.SIGQUIT) // each tells what it does
			t.Errorf("I7: after %s, %d entries wait, and there are %d rows of workers; want 0, %d", settle, r.waiting, workers, r.size.workers)
			workers, r.waiting = r.size.workers, 0
		}
	}
	for _, fault := range r.workers.dismiss(syscall.SIGTERM) {
		t.Error("a worker: " + fault)
	}
}
