package chaos_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/gorm-aftercommit/aftercommit/chaos"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// step is what a client did to an entry, under a token.
type step struct {
	entry, token int64
	what         string // claim, done, back, refused, release or expire
}

// register is the state of an entry.
type register struct {
	held int64 // by this token; 0 is nobody
	done bool
}

// leases is the model of an entry: a register that one token holds at a time.
func leases() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return register{} },
		Step: func(state, input, _ any) (bool, any) {
			r, s := state.(register), input.(step)
			mine := r.held == s.token
			switch s.what {
			case "claim":
				return r.held == 0 && !r.done, register{held: s.token}
			case "done":
				return mine, register{done: true}
			case "back":
				return mine, register{}
			case "refused": // also when the worker alone knows that its lease is over
				return true, r
			default: // release and expire do not tell whether there was anything
				if mine {
					return true, register{}
				}
				return true, r
			}
		},
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			by := make(map[int64][]porcupine.Operation)
			for _, o := range history {
				by[o.Input.(step).entry] = append(by[o.Input.(step).entry], o)
			}
			var parts [][]porcupine.Operation
			for _, part := range by {
				parts = append(parts, part)
			}
			return parts
		},
	}
}

// notes is what several clients did.
type notes struct {
	mu  sync.Mutex
	all []porcupine.Operation
}

func (n *notes) add(client int, claim processors.Claim, call int64, what string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range claim.Entries() {
		n.all = append(n.all, porcupine.Operation{ClientId: client, Input: step{e.ID, claim.Token(), what}, Call: call, Return: chaos.Now()})
	}
}

// finish finishes a claim, and notes what came of it.
func (n *notes) finish(client int, claim processors.Claim, again bool) error {
	outcomes, what := done(claim), "done"
	if again {
		what = "back"
		for i := range outcomes {
			outcomes[i].State, outcomes[i].RetryAt = reliable.StateRetry, claim.At()
		}
	}
	call := chaos.Now()
	err := claim.Finish(context.Background(), outcomes)
	if errors.Is(err, reliable.ErrLeaseLost) {
		what, err = "refused", nil
	}
	n.add(client, claim, call, what)
	return err
}

// Claims, finishes, releases and leases that run out, by five clients at once,
// are as if each happened at one moment (22).
func TestLinearizable(t *testing.T) {
	const clients, steps = 5, 12
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		r := draws(t)
		s := newScene(t, testdb.New(t, d))
		if err := s.db.Exec("DELETE FROM outbox_entries WHERE id > (SELECT * FROM (SELECT min(id) + 9 FROM outbox_entries) least)").Error; err != nil {
			t.Fatal(err)
		}
		var n notes
		var all sync.WaitGroup
		for client := range clients {
			p := s.seat(t, fmt.Sprintf("client%d", client), 300*time.Millisecond)
			p.MaxCrashes = 1000
			r := rand.New(rand.NewPCG(r.Uint64(), 0))
			all.Go(func() {
				for range steps {
					if err := s.step(t.Context(), client, p, r, &n); err != nil {
						t.Errorf("client %d: %v", client, err)
						return
					}
				}
			})
		}
		all.Wait()
		kinds := make(map[string]int)
		for _, o := range n.all {
			kinds[o.Input.(step).what]++
		}
		t.Logf("%d steps: %v", len(n.all), kinds)
		if kinds["refused"] == 0 || kinds["done"] == 0 || kinds["expire"] == 0 || kinds["back"] == 0 {
			t.Error("each must occur: the test shows nothing")
		}
		for _, part := range leases().Partition(n.all) {
			if result := porcupine.CheckOperationsTimeout(leases(), part, time.Minute); result != porcupine.Ok {
				t.Errorf("the history of an entry is not linearizable: %s", result)
				slices.SortFunc(part, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
				for _, o := range part {
					t.Logf("%8.3f to %8.3f ms: client %d: %+v", float64(o.Call-part[0].Call)/1e6, float64(o.Return-part[0].Call)/1e6, o.ClientId, o.Input)
				}
			}
		}
	})
}

// step claims and gives back, in one of the ways.
func (s *scene) step(ctx context.Context, client int, p *processors.NonOrdered, r *rand.Rand, n *notes) error {
	call := chaos.Now()
	claim, err := p.Claim(ctx, 1+r.IntN(2))
	if err != nil || claim == nil { // it may refuse until its lease is renewed
		select {
		case <-time.After(time.Duration(r.IntN(50)) * time.Millisecond):
		case <-ctx.Done():
		}
		return nil
	}
	n.add(client, claim, call, "claim")
	release := func() error {
		call := chaos.Now()
		err := claim.Release(context.Background())
		n.add(client, claim, call, "release")
		return err
	}
	select {
	case <-claim.Lost(): // the answer came too late
		return release()
	default:
	}
	switch draw := r.IntN(10); {
	case draw < 1:
		return n.finish(client, claim, false)
	case draw < 4:
		return n.finish(client, claim, true)
	case draw < 5:
		return release()
	}
	finished := make(chan error, 1)
	pause := time.Duration(r.IntN(500)) * time.Millisecond
	go func() {
		<-time.After(pause)
		finished <- n.finish(client, claim, r.IntN(2) == 0)
	}()
	call = chaos.Now()
	if err := s.db.Exec(fmt.Sprintf("DELETE FROM outbox_workers WHERE id LIKE 'client%d-%%'", client)).Error; err != nil {
		return errors.Join(err, <-finished)
	}
	for rows := 1; rows > 0; { // until somebody took over, or it is finished and swept away
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), <-finished)
		}
		if rows, err = count(s.db, fmt.Sprintf("outbox_claims WHERE token = %d", claim.Token())); err != nil {
			return errors.Join(err, <-finished)
		}
	}
	n.add(client, claim, call, "expire")
	return <-finished
}

// Histories that no lease allows are found.
func TestLeaseModel(t *testing.T) {
	history := func(steps ...step) (all []porcupine.Operation) {
		for i, s := range steps {
			all = append(all, porcupine.Operation{Input: s, Call: int64(10 * i), Return: int64(10*i + 5)})
		}
		return all
	}
	for name, test := range map[string]struct {
		history []porcupine.Operation
		want    bool
	}{
		"good":              {history(step{1, 7, "claim"}, step{1, 7, "expire"}, step{1, 8, "claim"}, step{1, 7, "refused"}, step{1, 8, "done"}), true},
		"two hold it":       {history(step{1, 7, "claim"}, step{1, 8, "claim"}), false},
		"a late finish":     {history(step{1, 7, "claim"}, step{1, 7, "expire"}, step{1, 8, "claim"}, step{1, 7, "done"}), false},
		"claimed when done": {history(step{1, 7, "claim"}, step{1, 7, "done"}, step{1, 8, "claim"}), false},
		"done by two":       {history(step{1, 7, "claim"}, step{1, 7, "done"}, step{1, 7, "done"}), false},
	} {
		if got := porcupine.CheckOperations(leases(), test.history); got != test.want {
			t.Errorf("%s: linearizable is %v, want %v", name, got, test.want)
		}
	}
}
