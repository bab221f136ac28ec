package processors_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// keyed records an entry for each of the keys, in order; their ids go up.
func (o *outbox) keyed(t *testing.T, keys ...string) {
	t.Helper()
	entries := make([]reliable.Entry, len(keys))
	for i, key := range keys {
		entries[i] = reliable.Entry{Context: "known", EventName: "x", CausalityKey: key}
	}
	err := o.Transaction(func(tx *gorm.DB) error {
		_, err := reliable.RecordAll(t.Context(), tx, entries)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// line is what a claim has, as "key id key id", by key.
func line(c processors.Claim) string {
	if c == nil {
		return ""
	}
	entries := slices.Clone(c.Entries())
	slices.SortStableFunc(entries, func(a, b *reliable.OutboxEntry) int {
		switch {
		case a.CausalityKey < b.CausalityKey:
			return -1
		case a.CausalityKey > b.CausalityKey:
			return 1
		}
		return 0
	})
	text := ""
	for _, e := range entries {
		text += fmt.Sprintf(" %s%d", e.CausalityKey, e.ID)
	}
	return text
}

// settle finishes entries of a claim with a state, by id.
func settle(t *testing.T, c processors.Claim, states map[int64]reliable.Outcome) {
	t.Helper()
	var outcomes []reliable.Outcome
	for _, e := range c.Entries() {
		if o, ok := states[e.ID]; ok {
			o.Entry = e
			outcomes = append(outcomes, o)
		}
	}
	if err := c.Finish(t.Context(), outcomes); err != nil {
		t.Fatal(err)
	}
}

func claims(t *testing.T, p processors.EntriesProcessor, n int, want string) processors.Claim {
	t.Helper()
	c, err := p.Claim(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	if got := line(c); got != want {
		t.Fatalf("Claim(%d) has%s, want%s", n, got, want)
	}
	return c
}

// A key is claimed from its head on, its head blocks it and nothing else, and
// what is in work blocks it too.
func TestHeadsBlockTheirKeys(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		o := open(t, testdb.New(t, d))
		p := &processors.OrderedByCausalityKey{LeaseTTL: time.Minute}
		o.run(t, "w", p)
		o.keyed(t, "a", "b", "a", "c", "a", "b", "", "a ")
		first := claims(t, p, 1000, " 7 a1 a3 a5 a 8 b2 b6 c4")
		o.keyed(t, "a", "d")
		second := claims(t, p, 1000, " d10")
		settle(t, first, map[int64]reliable.Outcome{
			1: {}, 3: {State: reliable.StateRetry, RetryAt: first.At().Add(time.Hour)}, 5: {State: reliable.StateReleased},
			2: {State: reliable.StateDead, Parked: true, ErrorClass: "class", ErrorMessage: "message"}, 6: {State: reliable.StateReleased},
			4: {}, 7: {}, 8: {},
		})
		o.keyed(t, "a", "b", "c")
		third := claims(t, p, 1000, " c13")
		if n := o.count(t, "outbox_parked_keys WHERE causality_key = 'b' AND entry_id = 2 AND reason = 'class'"); n != 1 {
			t.Errorf("%d rows tell that key b is parked, want 1", n)
		}
		o.exec(t, "UPDATE outbox_entries SET retry_at = "+o.ago(1)+" WHERE id = 3", "UPDATE outbox_entries SET dead_at = NULL WHERE id = 2")
		var got string
		eventually(t, "a and b go on", func() bool {
			c, err := p.Claim(t.Context(), 1000)
			if err != nil {
				t.Fatal(err)
			}
			got += line(c)
			return len(got) >= len(" a3 a5 a9 a11 b2 b6 b12")
		})
		if got != " a3 a5 a9 a11 b2 b6 b12" && got != " b2 b6 b12 a3 a5 a9 a11" {
			t.Errorf("then the claims have%s, want a3 to a11 and b2 to b12", got)
		}
		settle(t, second, map[int64]reliable.Outcome{10: {}})
		settle(t, third, map[int64]reliable.Outcome{13: {}})
	})
}

// A key runs by id, whatever the clocks of those who wrote it said.
func TestOrderIsThatOfIDs(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		o := open(t, testdb.New(t, d))
		p := &processors.OrderedByCausalityKey{LeaseTTL: time.Minute}
		o.run(t, "w", p)
		o.keyed(t, "a", "a", "a")
		o.exec(t, "UPDATE outbox_entries SET created_at = "+o.ago(1)+" WHERE id = 2", "UPDATE outbox_entries SET created_at = "+o.ago(2)+" WHERE id = 3")
		claims(t, p, 1, " a1")
	})
}

// What is dead without being parked, or kept though done, blocks no key.
func TestWhatBlocksNoKey(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		o := open(t, testdb.New(t, d))
		p := &processors.OrderedByCausalityKey{LeaseTTL: time.Minute, Completion: processors.Keep, Policy: reliable.KeySkip}
		o.run(t, "w", p)
		o.keyed(t, "a", "b")
		settle(t, claims(t, p, 1000, " a1 b2"), map[int64]reliable.Outcome{1: {}, 2: {State: reliable.StateDead}})
		o.keyed(t, "a", "b")
		claims(t, p, 1000, " a3 b4")
		if n := o.count(t, "outbox_parked_keys"); n != 0 {
			t.Errorf("%d keys are parked, want 0", n)
		}
	})
}

// A key of which anything is in work is not claimed, though what commits late
// has ids below that: neither if it is in a claim of this worker, nor if it is
// in one of a worker that is gone.
func TestLateCommitOfAKeyInWork(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		o := open(t, testdb.New(t, d))
		p := &processors.OrderedByCausalityKey{LeaseTTL: time.Minute}
		o.run(t, "w", p)
		const late = 40 // of each key: more than a claim reads of one
		o.keyed(t, append(slices.Repeat([]string{"x"}, 2*late), "a", "b")...)
		gone := "[82]"
		if d == testdb.Postgres {
			gone = "{82}"
		}
		o.exec(t, "DELETE FROM outbox_entries WHERE causality_key = 'x'",
			"INSERT INTO outbox_claims (worker, ids, lo, hi) VALUES ('gone', '"+gone+"', 82, 82)")
		c := claims(t, p, 1, " a81")
		for id := 1; id <= 2*late; id++ {
			key := "a"
			if id > late {
				key = "b"
			}
			o.exec(t, fmt.Sprintf("INSERT INTO outbox_entries (id, kind, owed, context, event_name, causality_key, lane) VALUES (%d, %d, '[\"work\"]', 'known', 'x', '%s', %d)",
				id, reliable.EntryKind("known", "", "x", []string{"work"}), key, reliable.LaneOf(key)))
		}
		claims(t, p, 1, "")
		finishAll(t, c)
		claims(t, p, 1, " a1")
	})
}

// Workers share the lanes. What a dead one held is claimed only once its claim
// is gone, and then from the head on.
func TestLanesChangeHands(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		o := open(t, testdb.New(t, d))
		const n = 40
		var keys []string
		for i := range 3 * n {
			keys = append(keys, fmt.Sprintf("k%02d", i%n))
		}
		a, b := &processors.OrderedByCausalityKey{LeaseTTL: time.Second}, &processors.OrderedByCausalityKey{LeaseTTL: time.Second}
		stop := o.run(t, "a", a)
		o.keyed(t, keys...)
		first, err := a.Claim(t.Context(), 10)
		if err != nil || first == nil {
			t.Fatalf("Claim() = %v, %v", first, err)
		}
		o.run(t, "b", b)
		owned := func(by string) int { return o.count(t, "outbox_lanes WHERE owner LIKE '"+by+"-%'") }
		eventually(t, "b has half of the lanes, less those of which something runs", func() bool {
			for _, p := range []*processors.OrderedByCausalityKey{a, b} {
				c, err := p.Claim(t.Context(), 1)
				if err != nil {
					t.Log(err) // between two leases
				}
				if c != nil {
					if err := c.Release(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
			}
			return owned("b") == reliable.Lanes/2 && owned("a") == reliable.Lanes/2
		})
		stop() // it leaves its claim behind, and its row, as a callback that runs on would
		seen := make(map[string][]int64)
		eventually(t, "b has all", func() bool {
			c, err := b.Claim(t.Context(), 1000)
			if err != nil {
				t.Log(err) // between two leases
			}
			if c == nil {
				return false
			}
			done := make(map[int64]reliable.Outcome)
			for _, e := range c.Entries() {
				seen[e.CausalityKey] = append(seen[e.CausalityKey], e.ID)
				done[e.ID] = reliable.Outcome{}
			}
			settle(t, c, done)
			return o.count(t, "outbox_entries") == 0
		})
		for key, ids := range seen {
			if len(ids) != 3 || !slices.IsSorted(ids) {
				t.Errorf("key %s was claimed as %v, want its three entries in order", key, ids)
			}
		}
		if len(seen) != n || owned("b") != reliable.Lanes {
			t.Errorf("%d keys and %d lanes, want %d and %d", len(seen), owned("b"), n, reliable.Lanes)
		}
	})
}

// Workers with the other processor, and lanes that are not those of the keys,
// are refused with the reason.
func TestWrongProcessor(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		o := open(t, testdb.New(t, d))
		refused := func(p processors.EntriesProcessor) error {
			return p.Run(t.Context(), processors.Site{DB: o.DB, Plugin: o.plugin, Worker: "second", Threads: 1}, func() { t.Error("ready") })
		}
		for _, pair := range [][2]processors.EntriesProcessor{
			{&processors.NonOrdered{}, &processors.OrderedByCausalityKey{}},
			{&processors.OrderedByCausalityKey{}, &processors.NonOrdered{}},
		} {
			stop := o.run(t, "first", pair[0])
			if err := refused(pair[1]); !errors.Is(err, processors.ErrWrongProcessor) {
				t.Errorf("%T beside %T: Run() = %v, want ErrWrongProcessor", pair[1], pair[0], err)
			}
			stop()
		}
		o.exec(t, "DELETE FROM outbox_lanes WHERE lane > 31")
		if err := refused(&processors.OrderedByCausalityKey{}); !errors.Is(err, processors.ErrWrongProcessor) {
			t.Errorf("with 32 lanes: Run() = %v, want ErrWrongProcessor", err)
		}
	})
}
