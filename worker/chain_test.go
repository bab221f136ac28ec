package worker_test

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// Entries of a key run one after the other, other keys and what has none beside
// them.
func TestChainsRunInOrder(t *testing.T) {
	for _, most := range []int{0, 1, 3} {
		t.Run(fmt.Sprintf("%d of a key", most), func(t *testing.T) {
			p := &table{policy: reliable.KeyPark, most: most}
			for range 10 {
				p.put("a")
				p.put("b")
				p.put("")
			}
			w := &worker.Worker{DB: jobs(t, p.works(40*time.Second, nil)), Processor: p, Threads: 8, BatchSize: 100}
			virtual(t, w, func(t *testing.T, _ func() error) {
				pass(30 * time.Second)
				beside := 0
				p.look(func() {
					for _, r := range p.rows {
						beside += r.running
					}
				})
				if beside != 8 {
					t.Errorf("%d entries run at the same time, want 8 of 2 keys and 10 entries without one", beside)
				}
				pass(time.Hour)
				p.judge(t, span(30)...)
				if n := p.starts(span(30)...); n != 30 {
					t.Errorf("%d runs, want 30", n)
				}
			})
		})
	}
}

// While a key's first entry fails, nothing that follows begins, and other keys
// go on. Then it is done, or dead: parked, or skipped.
func TestFailingHeadKeepsItsFollowers(t *testing.T) {
	bad := errors.New("bad")
	tests := []struct {
		name   string
		policy reliable.KeyPolicy
		err    error
		fails  int // times
		on     bool
	}{
		{"until it is done", reliable.KeyPark, bad, 5, true},
		{"snoozed", reliable.KeyPark, reliable.Snooze(time.Minute), 5, true},
		{"panic", reliable.KeyPark, nil, 5, true},
		{"until it is dead", reliable.KeyPark, bad, 1000, false},
		{"permanently", reliable.KeyPark, reliable.Permanent(bad), 1000, false},
		{"until it is skipped", reliable.KeySkip, bad, 1000, true},
		{"permanently, skipped", reliable.KeySkip, reliable.Permanent(errEnds), 1000, true},
		{"permanently, blocked", reliable.KeyBlock, reliable.Permanent(bad), 30, true},
		{"for ever", reliable.KeyBlock, bad, 1000, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			const followers, others = 50, 20
			p := &table{policy: tt.policy}
			head := p.put("a")
			var rest []int64 // of its key
			for i := range followers {
				rest = append(rest, p.put("a"))
				if i < others {
					p.put("b")
				}
			}
			w := &worker.Worker{Processor: p, BatchSize: 100, PollInterval: time.Minute, Threads: 4, NoBreaker: true, DB: jobs(t, p.works(time.Second, func(id int64, start int) error {
				switch {
				case id != head:
					return nil
				case p.starts(rest...) > 0:
					t.Error("a follower began before its head had ended")
				case start > tt.fails:
				case start == reliable.DefaultMaxAttempts && tt.policy == reliable.KeySkip:
					return errEnds
				case tt.err == nil && start%2 == 0:
					runtime.Goexit()
				case tt.err == nil:
					panic("bad")
				default:
					return tt.err
				}
				return nil
			}))}
			virtual(t, w, func(t *testing.T, _ func() error) {
				pass(time.Minute)
				var early []int64
				p.look(func() {
					for _, r := range p.rows {
						if r.CausalityKey == "b" && !r.ended {
							early = append(early, r.ID)
						}
					}
				})
				if len(early) > 0 {
					t.Errorf("%v of another key wait for the head", early)
				}
				pass(1000 * time.Hour)
				if tt.on {
					p.judge(t, span(1+followers+others)...)
					if errors.Is(tt.err, errEnds) && len(p.claims) != 1 {
						t.Errorf("%d claims, want one: what follows a dead head goes on in it", len(p.claims))
					}
					return
				}
				p.judge(t, slices.DeleteFunc(span(1+followers+others), func(id int64) bool { return id == head || slices.Contains(rest, id) })...)
				if n := p.starts(rest...); n != 0 {
					t.Errorf("%d runs of what follows a head that never ends, want none", n)
				}
			})
		})
	}
}

// What follows an entry that is put back is given back with it, or after it,
// never before.
func TestFollowersGoBackAfterTheirHead(t *testing.T) {
	p := &table{policy: reliable.KeyPark}
	for range 30 {
		p.put("a")
	}
	p.put("b")
	var mu sync.Mutex
	var states []string
	p.wrote = func(_ int64, outcomes []reliable.Outcome, err error) {
		mu.Lock()
		defer mu.Unlock()
		for _, o := range outcomes {
			if o.Entry.CausalityKey == "a" && err == nil && o.State != reliable.StateDone {
				states = append(states, fmt.Sprintf("%d %s", o.Entry.ID, o.State))
			}
		}
	}
	w := &worker.Worker{Processor: p, BatchSize: 100, PollInterval: time.Minute, FinishGroup: 4, NoBreaker: true, DB: jobs(t, p.works(time.Second, func(id int64, start int) error {
		if id == 3 && start == 1 {
			return reliable.Snooze(time.Hour)
		}
		return nil
	}))}
	virtual(t, w, func(t *testing.T, _ func() error) {
		pass(10 * time.Minute)
		mu.Lock()
		want := []string{"3 retry"}
		for id := 4; id <= 30; id++ {
			want = append(want, fmt.Sprintf("%d released", id))
		}
		if !slices.Equal(states, want) {
			t.Errorf("outcomes %v, want %v", states, want)
		}
		mu.Unlock()
		p.judge(t, 1, 2, 31)
		pass(2 * time.Hour)
		p.judge(t, span(31)...)
	})
}
