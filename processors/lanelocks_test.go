package processors_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

var errUnreachable = errors.New("no answer")

// puppet is a Locker that answers what it is told to.
type puppet struct {
	mu           sync.Mutex
	lock, extend error
	given        int // locks that were given and not given back
}

func (p *puppet) say(lock, extend error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lock, p.extend = lock, extend
}

func (p *puppet) held() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.given
}

func (p *puppet) Lock(context.Context, string, time.Duration) (processors.Lock, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lock != nil {
		return nil, p.lock
	}
	p.given++
	return p, nil
}

func (p *puppet) Extend(context.Context, time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.extend
}

func (p *puppet) Unlock(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.given--
	return nil
}

// claimed claims until there is something.
func claimed(t *testing.T, p processors.EntriesProcessor) (c processors.Claim) {
	t.Helper()
	eventually(t, "a claim", func() bool {
		var err error
		if c, err = p.Claim(t.Context(), 1000); err != nil {
			t.Log(err) // between two leases
		}
		return c != nil
	})
	return c
}

// What a Locker refuses is left alone, and taken when it no longer does. At the
// end all locks are given back.
func TestLockerRefuses(t *testing.T) {
	o := open(t, testdb.New(t, testdb.SQLite))
	locker := &puppet{lock: processors.ErrLocked}
	p := &processors.OrderedByCausalityKey{LeaseTTL: time.Minute, Locker: locker}
	stop := o.run(t, "w", p)
	o.keyed(t, "a", "")
	claims(t, p, 1000, " 2")
	if n := o.count(t, "outbox_lanes WHERE owner IS NOT NULL"); n != 0 {
		t.Errorf("%d lanes are taken that the Locker refused", n)
	}
	locker.say(nil, nil)
	if got := line(claimed(t, p)); got != " a1" {
		t.Errorf("then the claim has%s, want a1", got)
	}
	if n := locker.held(); n != reliable.Lanes {
		t.Errorf("%d locks are held, want %d", n, reliable.Lanes)
	}
	stop()
	if n := locker.held(); n != 0 {
		t.Errorf("%d locks are held after the end, want 0", n)
	}
}

// While the Locker can't be reached, a worker waits, or goes on with what the
// database says.
func TestLockerUnreachable(t *testing.T) {
	for without, want := range map[processors.WithoutLocker]string{"": "", processors.Wait: "", processors.UseDatabase: " a1"} {
		t.Run(string(without), func(t *testing.T) {
			o := open(t, testdb.New(t, testdb.SQLite))
			p := &processors.OrderedByCausalityKey{LeaseTTL: time.Minute, Locker: &puppet{lock: errUnreachable}, WithoutLocker: without}
			o.run(t, "w", p)
			o.keyed(t, "a")
			claims(t, p, 1000, want)
			eventually(t, "an event", func() bool { return len(heard[*reliable.ErrorOccurred](o)) > 0 })
		})
	}
}

// A lock that is lost, or not extended in time, ends what runs under it. The
// worker registers anew and goes on.
func TestLockerLoses(t *testing.T) {
	for name, extend := range map[string]error{"lost": processors.ErrLocked, "unreachable": errUnreachable} {
		t.Run(name, func(t *testing.T) {
			o := open(t, testdb.New(t, testdb.SQLite))
			locker := new(puppet)
			p := &processors.OrderedByCausalityKey{LeaseTTL: time.Second, Locker: locker}
			o.run(t, "w", p)
			o.keyed(t, "a")
			c := claimed(t, p)
			locker.say(nil, extend)
			select {
			case <-c.Lost():
			case <-time.After(20 * time.Second):
				t.Fatal("the claim is not lost within 20 s")
			}
			locker.say(nil, nil)
			again := claimed(t, p)
			if line(again) != " a1" || again.Token() <= c.Token() {
				t.Errorf("then the claim %d has%s, want a1 with a token above %d", again.Token(), line(again), c.Token())
			}
			if err := c.Finish(t.Context(), []reliable.Outcome{{Entry: c.Entries()[0]}}); !errors.Is(err, reliable.ErrLeaseLost) {
				t.Errorf("Finish() of the claim that was lost = %v, want ErrLeaseLost", err)
			}
		})
	}
}

// A worker that uses the database goes on when its locks can't be extended, and
// when they are given again.
func TestLockerComesBack(t *testing.T) {
	o := open(t, testdb.New(t, testdb.SQLite))
	locker := new(puppet)
	p := &processors.OrderedByCausalityKey{LeaseTTL: 300 * time.Millisecond, Locker: locker, WithoutLocker: processors.UseDatabase}
	o.run(t, "w", p)
	o.keyed(t, "a")
	c := claimed(t, p)
	locker.say(errUnreachable, errUnreachable)
	before := len(heard[*reliable.HeartbeatSent](o))
	eventually(t, "heartbeats", func() bool { return len(heard[*reliable.HeartbeatSent](o)) > before+8 })
	locker.say(nil, nil)
	eventually(t, "locks on all lanes again", func() bool { return locker.held() == 2*reliable.Lanes })
	select {
	case <-c.Lost():
		t.Error("the claim was lost")
	default:
	}
	settle(t, c, map[int64]reliable.Outcome{1: {}})
}

// A Locker that always says yes changes nothing: each entry is claimed once.
func TestLockerThatLies(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		o := open(t, testdb.New(t, d))
		a := &processors.OrderedByCausalityKey{LeaseTTL: time.Minute, Locker: new(puppet)}
		b := &processors.OrderedByCausalityKey{LeaseTTL: time.Minute, Locker: new(puppet)}
		o.run(t, "a", a)
		o.run(t, "b", b)
		const n = 200
		keys := make([]string, n)
		for i := range keys {
			keys[i] = fmt.Sprint("key ", i)
		}
		o.keyed(t, keys...)
		var mu sync.Mutex
		claimed, of := make(map[int64]int), make(map[*processors.OrderedByCausalityKey]int)
		all := func() bool { mu.Lock(); defer mu.Unlock(); return len(claimed) == n }
		var workers sync.WaitGroup
		for _, p := range []*processors.OrderedByCausalityKey{a, b} {
			workers.Go(func() {
				for deadline := time.Now().Add(20 * time.Second); !all() && time.Now().Before(deadline); {
					c, err := p.Claim(t.Context(), 10)
					if err != nil {
						t.Error(err)
						return
					}
					<-time.After(5 * time.Millisecond) // or else one may keep the other from SQLite's lock
					if c == nil {
						continue
					}
					mu.Lock()
					of[p]++
					for _, e := range c.Entries() {
						claimed[e.ID]++
					}
					mu.Unlock()
				}
			})
		}
		workers.Wait()
		for id, times := range claimed {
			if times > 1 {
				t.Errorf("entry %d was claimed %d times", id, times)
			}
		}
		if len(claimed) != n || of[a] == 0 || of[b] == 0 {
			t.Errorf("%d entries were claimed, in %d and %d claims, want %d, by both workers", len(claimed), of[a], of[b], n)
		}
	})
}
