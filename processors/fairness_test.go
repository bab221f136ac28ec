package processors_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// neighbours returns n keys of one lane.
func neighbours(n int) (keys []string) {
	for i := 0; len(keys) < n; i++ {
		if key := fmt.Sprintf("key %06d", i); reliable.LaneOf(key) == 7 {
			keys = append(keys, key)
		}
	}
	return keys
}

// finishAll finishes all that a claim has.
func finishAll(t *testing.T, c processors.Claim) {
	t.Helper()
	done := make(map[int64]reliable.Outcome)
	for _, e := range c.Entries() {
		done[e.ID] = reliable.Outcome{}
	}
	settle(t, c, done)
}

// A key with very many entries takes no more than its turn of its lane: the
// others are done after as many claims as without it, and a few.
func TestHotKeyStarvesNobody(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		o := open(t, testdb.New(t, d))
		p := &processors.OrderedByCausalityKey{LeaseTTL: time.Minute, Completion: processors.Delete}
		o.run(t, "w", p)
		const cold, hot, batch = 60, 3000, 20
		keys := neighbours(cold + 1)
		backlog := make([]string, hot, hot+cold)
		for i := range backlog {
			backlog[i] = keys[cold/2]
		}
		o.keyed(t, append(backlog, append(keys[:cold/2:cold/2], keys[cold/2+1:]...)...)...)
		left := cold
		for claims := 1; left > 0; claims++ {
			if claims > 12*cold/batch {
				t.Fatalf("%d cold keys still wait after %d claims of %d", left, claims, batch)
			}
			c, err := p.Claim(t.Context(), batch)
			if err != nil || c == nil {
				t.Fatalf("Claim() = %v, %v", c, err)
			}
			for _, e := range c.Entries() {
				if e.CausalityKey != keys[cold/2] {
					left--
				}
			}
			finishAll(t, c)
		}
	})
}

// Keys that stand still are not read over and over: those between them are
// found, and what comes to them later.
func TestBlockedKeysHideNobody(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		o := open(t, testdb.New(t, d))
		p := &processors.OrderedByCausalityKey{LeaseTTL: time.Minute}
		o.run(t, "w", p)
		keys := neighbours(2000)
		o.keyed(t, append(keys, keys...)...)
		o.exec(t, "UPDATE outbox_entries SET dead_at = "+o.ago(1)+" WHERE id <= 2000 AND id <> 1001")
		if c := claimed(t, p); !strings.HasPrefix(line(c), " "+keys[1000]+"1001 ") {
			t.Errorf("Claim() has%s, want the one key that goes on", line(c))
		}
		o.keyed(t, "another")
		if c := claimed(t, p); line(c) != " another4001" {
			t.Errorf("then Claim() has%s, want another4001", line(c))
		}
		o.exec(t, "UPDATE outbox_entries SET dead_at = NULL WHERE id = 501")
		if c := claimed(t, p); !strings.HasPrefix(line(c), " "+keys[500]+"501 ") {
			t.Errorf("then Claim() has%s, want the key that was released", line(c))
		}
	})
}

// A tenant has no more than its cap in work, whatever waits of it.
func TestTenantCap(t *testing.T) {
	o := open(t, testdb.New(t, testdb.SQLite))
	p := &processors.OrderedByCausalityKey{
		LeaseTTL: time.Minute, TenantCap: 3,
		Tenant: func(e *reliable.OutboxEntry) string { tenant, _, _ := strings.Cut(e.CausalityKey, "/"); return tenant },
	}
	o.run(t, "w", p)
	o.keyed(t, "t/1", "t/2", "t/3", "t/4", "t/5", "u/1", "u/2")
	of := func(c processors.Claim) map[string]int {
		n := make(map[string]int)
		for _, e := range c.Entries() {
			n[p.Tenant(e)]++
		}
		return n
	}
	first := claimed(t, p)
	if n := of(first); n["t"] != 3 || n["u"] != 2 {
		t.Fatalf("Claim() has %v, want 3 of t and 2 of u", n)
	}
	claims(t, p, 1000, "")
	finishAll(t, first)
	if n := of(claimed(t, p)); n["t"] != 2 {
		t.Errorf("then Claim() has %v, want the other 2 of t", n)
	}
}

// A claim has no more than it was asked for, and what has a key and what has
// none leave room for each other, however small it is.
func TestKeysAndNoKeysShareClaims(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		for _, n := range []int{1, 2, 8} {
			o := open(t, testdb.New(t, d))
			p := &processors.OrderedByCausalityKey{LeaseTTL: time.Minute}
			o.run(t, "w", p)
			keys := make([]string, 0, 400)
			for i := range 200 {
				keys = append(keys, fmt.Sprint("key ", i), "")
			}
			o.keyed(t, keys...)
			keyed, loose := 0, 0
			for range 10 {
				c, err := p.Claim(t.Context(), n)
				if err != nil || c == nil || len(c.Entries()) > n {
					t.Fatalf("Claim(%d) = %v, %v, want at most so many entries", n, c, err)
				}
				for _, e := range c.Entries() {
					if e.CausalityKey == "" {
						loose++
					} else {
						keyed++
					}
				}
			}
			if keyed == 0 || loose == 0 || keyed+loose < 9*n {
				t.Errorf("ten claims of %d have %d entries with a key and %d without, want about %d, some of each", n, keyed, loose, 10*n)
			}
		}
	})
}

// A key that is left alone with its work is not claimed bit by bit.
func TestLastKeyIsClaimedWhole(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		o := open(t, testdb.New(t, d))
		p := &processors.OrderedByCausalityKey{LeaseTTL: time.Minute, Completion: processors.Delete}
		o.run(t, "w", p)
		const entries = 3000
		o.keyed(t, strings.Split(strings.Repeat("a", entries), "")...)
		var sizes []int
		for left := entries; left > 0; {
			c := claimed(t, p)
			sizes = append(sizes, len(c.Entries()))
			left -= len(c.Entries())
			finishAll(t, c)
		}
		if len(sizes) > entries/1000+3 {
			t.Errorf("claims of 1000 had %d entries, want about as many as were asked for", sizes)
		}
	})
}

// Keys with much work are read deep, but not after some of it was given back:
// most of what stands behind an entry that fails would be read for nothing.
func TestReadsAreDeepUntilSomethingFails(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		o := open(t, testdb.New(t, d))
		p := &processors.OrderedByCausalityKey{LeaseTTL: time.Minute, Completion: processors.Delete}
		o.run(t, "w", p)
		var backlog []string
		for n := range 200 {
			for range 40 {
				backlog = append(backlog, fmt.Sprint("key", n))
			}
		}
		o.keyed(t, backlog...)
		claim := func() (c processors.Claim, keys int) {
			c, seen := claimed(t, p), make(map[string]bool)
			for _, e := range c.Entries() {
				seen[e.CausalityKey] = true
			}
			return c, len(seen)
		}
		first, wide := claim()
		finishAll(t, first)
		second, deep := claim()
		settle(t, second, map[int64]reliable.Outcome{second.Entries()[0].ID: {State: reliable.StateReleased}})
		_, again := claim()
		if deep > wide/2 || again < wide/2 {
			t.Errorf("claims have %d keys at first, %d when all have much, %d after an entry was given back; want many, few, many", wide, deep, again)
		}
	})
}
