package processors_test

import (
	"context"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// sign is what a loop told of itself.
type sign struct {
	loop   string
	within time.Duration
}

// Every loop of a processor shows that it lives, says how soon it will again,
// and says when it ends. The worker's writes can be tried at any time.
func TestLoopsBeat(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		o := openTables(t, testdb.New(t, d), reliable.Tables{})
		signs := make(chan sign, 10_000)
		p := &processors.OrderedByCausalityKey{
			LeaseTTL: 500 * time.Millisecond, Locker: new(puppet), Housekeeping: processors.Housekeeping{Every: 10 * time.Millisecond},
		}
		site := processors.Site{DB: o.DB, Plugin: o.plugin, Worker: "beating", Threads: 1, Beat: func(loop string, within time.Duration) { signs <- sign{loop, within} }}
		ctx, cancel := context.WithCancel(context.Background())
		ready, ended := make(chan struct{}), make(chan error, 1)
		go func() { ended <- p.Run(ctx, site, func() { close(ready) }) }()
		select {
		case <-ready:
		case err := <-ended:
			t.Fatalf("Run() = %v", err)
		}
		if _, err := p.Claim(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		last, beats, steps := make(map[string]time.Duration), make(map[string]int), make(map[string]int)
		take := func(s sign) {
			beats[s.loop]++
			last[s.loop] = s.within
			if s.within == time.Minute { // of one transaction, not of a pause
				steps[s.loop]++
			}
		}
		for beats["lease"] < 5 || beats["housekeeping"] < 5 || beats["locks"] < 3 || beats["claim"] < 3 {
			select {
			case s := <-signs:
				if take(s); s.within < time.Second || s.within > 10*time.Minute {
					t.Errorf("%s beats within %s, want more than a moment and less than for ever", s.loop, s.within)
				}
			case <-time.After(time.Minute):
				t.Fatalf("the loops have shown themselves %v times, want each of them, again and again", beats)
			}
		}
		if err := p.Probe(t.Context()); err != nil {
			t.Errorf("Probe() = %v, want nil", err)
		}
		before := o.count(t, o.plugin.Tables().Workers())
		o.exec(t, "ALTER TABLE "+o.plugin.Tables().Workers()+" RENAME TO elsewhere")
		if err := p.Probe(t.Context()); err == nil {
			t.Error("Probe() = nil without the table, want an error")
		}
		o.exec(t, "ALTER TABLE elsewhere RENAME TO "+o.plugin.Tables().Workers())
		if after := o.count(t, o.plugin.Tables().Workers()); before != 1 || after != 1 {
			t.Errorf("there were %d workers, and are %d, want one", before, after)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run() = %v", err)
		}
		close(signs)
		for s := range signs {
			take(s)
		}
		for _, loop := range []string{"lease", "housekeeping", "claim"} {
			if steps[loop] == 0 {
				t.Errorf("%s beats at no step, want at each", loop)
			}
		}
		for _, loop := range []string{"lease", "housekeeping", "locks"} {
			if last[loop] != 0 {
				t.Errorf("%s is to beat within %s after the end, want 0", loop, last[loop])
			}
		}
	})
}
