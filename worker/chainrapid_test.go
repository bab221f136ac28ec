package worker_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// fate is what the first runs of a job come to; then it is done.
type fate struct {
	Took  time.Duration
	Fails []string
}

// Whatever entries come to, and whatever becomes of claims and finishes: an
// entry begins only once all before it of its key have ended, in this claim or
// for good, and nothing is durable before those are.
func TestChainsProperty(t *testing.T) {
	var p *table
	var fates []fate
	db := jobs(t, func(ctx context.Context, id int64) error {
		f := fates[id-1]
		return p.works(f.Took, func(_ int64, start int) error {
			if start > len(f.Fails) {
				return nil
			}
			switch f.Fails[start-1] {
			case "snooze":
				return reliable.Snooze(time.Second)
			case "discard":
				return fmt.Errorf("%w: %w", errEnds, reliable.Discard("not wanted"))
			case "permanent":
				if p.policy == reliable.KeySkip {
					return reliable.Permanent(errEnds)
				}
				return reliable.Permanent(errors.New("bad"))
			case "panic":
				panic("bad")
			case "goexit":
				runtime.Goexit()
			}
			return errors.New("bad")
		})(ctx, id)
	})
	rapid.Check(t, func(rt *rapid.T) {
		p = &table{
			policy: rapid.SampledFrom([]reliable.KeyPolicy{reliable.KeyPark, reliable.KeyBlock, reliable.KeySkip}).Draw(rt, "policy"),
			most:   rapid.IntRange(0, 5).Draw(rt, "of a key"),
		}
		took := rapid.Custom(func(rt *rapid.T) time.Duration {
			return time.Duration(rapid.IntRange(0, 3000).Draw(rt, "ms")) * time.Millisecond
		})
		fails := rapid.SliceOfN(rapid.SampledFrom([]string{"bad", "snooze", "discard", "permanent", "panic", "goexit"}), 0, 3)
		fates = nil
		for _, key := range rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", ""}), 1, 40).Draw(rt, "keys") {
			p.put(key)
			f := fate{Took: took.Draw(rt, "took")}
			if rapid.IntRange(0, 3).Draw(rt, "fails") == 0 {
				f.Fails = fails.Draw(rt, "fate")
			}
			fates = append(fates, f)
		}
		broken := rapid.SliceOfN(rapid.Bool(), 0, 20).Draw(rt, "finishes without an answer")
		p.finish = func(int64, []reliable.Outcome) error {
			if len(broken) == 0 {
				return nil
			}
			fails := broken[0]
			if broken = broken[1:]; fails {
				return errors.New("no answer")
			}
			return nil
		}
		losses := rapid.SliceOfN(took, 0, 5).Draw(rt, "claims lost after")
		w := &worker.Worker{
			DB: db, Processor: p, NoBreaker: true, PollInterval: 10 * time.Second,
			Threads: rapid.IntRange(1, 5).Draw(rt, "threads"), BatchSize: rapid.IntRange(1, 40).Draw(rt, "batch"), FinishGroup: rapid.IntRange(1, 8).Draw(rt, "group"),
		}
		virtual(t, w, func(_ *testing.T, _ func() error) {
			for _, d := range losses {
				pass(d)
				p.lose()
			}
			pass(24 * time.Hour)
		})
		p.look(func() {
			blocked := make(map[string]bool)
			for _, r := range p.rows {
				blocked[r.CausalityKey] = r.CausalityKey != "" && (blocked[r.CausalityKey] || r.parked)
				if !r.ended && !r.parked && !blocked[r.CausalityKey] {
					p.wrong = append(p.wrong, fmt.Sprintf("entry %d of key %q has not ended", r.ID, r.CausalityKey))
				}
			}
			if len(p.wrong) > 0 {
				rt.Fatalf("%q", p.wrong)
			}
		})
	})
}
