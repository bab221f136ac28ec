package processors_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// large is a claim that is much larger than the one before.
const large = 10 * step

// keyedPlans is a table of entries of few hot keys and many others, and the
// statements that an ordered processor sent to it in its last claim.
func keyedPlans(t *testing.T, d testdb.Dialect) *plans {
	t.Helper()
	const hot, cold = 8_000, 12_000
	url := testdb.New(t, d)
	o := open(t, url)
	keys := make([]string, 0, hot+cold)
	for i := range hot {
		keys = append(keys, fmt.Sprint("hot ", i%2))
	}
	for i := range cold {
		keys = append(keys, fmt.Sprint("cold ", i))
	}
	o.keyed(t, keys...)
	p := &plans{d: d, db: o.DB, heard: make(map[string][]any)}
	var err error
	if p.sql, err = o.DB.DB(); err != nil {
		t.Fatal(err)
	}
	db := url.Tap(t, p.hear)
	r := new(reliable.Registry)
	r.Handle("known", "work", reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error { return nil }))
	plugin := reliable.New(reliable.Config{Registry: r})
	if err := db.Use(plugin); err != nil {
		t.Fatal(err)
	}
	tapped := &outbox{DB: db, plugin: plugin}
	n := &processors.OrderedByCausalityKey{LeaseTTL: time.Minute}
	tapped.run(t, "planner", n)
	reads := 0
	for _, size := range []int{step, step / 5, large} { // the last reads from where the others ended, past what they hold
		p.mu.Lock()
		p.last = nil
		p.mu.Unlock()
		c, err := n.Claim(t.Context(), size)
		if err != nil || c == nil || len(c.Entries()) < size/2 {
			t.Fatalf("Claim() = %v, %v, want %d entries or about so many", c, err, size)
		}
		p.mu.Lock()
		reads = len(p.last)
		p.mu.Unlock()
	}
	eventually(t, "a look for entries without a key, from where the last one ended", func() bool {
		if _, err := n.Claim(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		i := slices.IndexFunc(p.last, func(c call) bool { return loose(c) && c.args[0].(int64) > hot })
		if i >= 0 {
			p.last = append(p.last[:reads:reads], p.last[i])
		}
		return i >= 0
	})
	return p
}

// loose reports whether a call looks for fresh entries without a key.
func loose(c call) bool {
	return strings.Contains(c.query, "retry_at IS NULL AND lane IS NULL") && len(c.args) > 0
}

// A claim of keys looks at the entries that it may take and at no more: neither
// at the rest of a hot key, nor at what other claims hold. A scan for entries
// without a key does not look at those that have one again and again.
func TestLanesAreReadByIndex(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		p := keyedPlans(t, d)
		read, scanned := false, false
		for _, c := range p.last {
			switch {
			case strings.Contains(c.query, "causality_key > "):
				read = true
			case loose(c) && c.args[0].(int64) > 0:
				scanned = true
			default:
				continue
			}
			plan, mistakes := p.explain(t, c.query, c.args)
			for _, mistake := range mistakes {
				if d == testdb.SQLite && mistake == "it sorts" {
					continue // what it takes, not what there is
				}
				t.Errorf("%s:\n%s\n%s", mistake, c.query, plan)
			}
			if d == testdb.SQLite {
				continue // it counts nothing
			}
			rows, _ := p.measure(t, c)
			if rows > 2*large {
				t.Errorf("a claim of %d looks at %.0f entries, want at most %d:\n%s", large, rows, 2*large, plan)
			}
		}
		if !read || !scanned {
			t.Fatalf("no read of the lanes, or no scan for entries without a key, was heard: %v", p.last)
		}
	})
}
