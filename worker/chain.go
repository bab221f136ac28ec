package worker

import (
	"slices"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// chains holds back the entries of one claim that follow another of their
// causality key. Of each key one entry at a time is with the executors, or
// ready for them. Guarded by the queue's mutex.
type chains struct {
	policy reliable.KeyPolicy
	keys   map[string]*chain // of which entries are held back
	held   int               // such entries
}

// chain is what is held back of one key.
type chain struct {
	rest  []*reliable.OutboxEntry // by id
	after int64                   // the entry that must be durable before the next may begin; 0 while it has no outcome
}

// newChains returns the entries that may begin at once, and what holds back the
// others; that is nil if there are none.
func newChains(entries []*reliable.OutboxEntry, policy reliable.KeyPolicy) ([]*reliable.OutboxEntry, *chains) {
	c := &chains{policy: policy, keys: make(map[string]*chain)}
	heads := make([]*reliable.OutboxEntry, 0, len(entries))
	seen := make(map[string]bool, len(entries))
	for _, e := range entries {
		key := e.CausalityKey
		if key == "" || !seen[key] {
			seen[key] = true
			heads = append(heads, e)
			continue
		}
		if c.keys[key] == nil {
			c.keys[key] = new(chain)
		}
		c.keys[key].rest = append(c.keys[key].rest, e)
		c.held++
	}
	if c.held == 0 {
		return entries, nil
	}
	return heads, c
}

// goesOn reports whether the key of an entry goes on after what that came to.
func (c *chains) goesOn(o *reliable.Outcome) bool {
	return o.State == reliable.StateDone || o.State == reliable.StateDead && c.policy == reliable.KeySkip
}

// hold counts what a claim holds back.
func (q *queue) hold(b *batch) {
	if b.chains == nil {
		return
	}
	if q.holding == nil {
		q.holding = make(map[*batch]bool)
	}
	q.holding[b] = true
	q.left += b.chains.held
	q.chains += len(b.chains.keys)
}

// forget takes out all that a claim holds back and returns how many entries
// that is.
func (q *queue) forget(b *batch) (n int) {
	if b.chains == nil {
		return 0
	}
	n = b.chains.held
	q.left -= n
	q.chains -= len(b.chains.keys)
	b.chains.keys, b.chains.held = nil, 0
	delete(q.holding, b)
	return n
}

// follow notes what an entry of b came to. It returns those of its key that are
// to be given back because of that, and whether one waits until it is durable.
func (q *queue) follow(b *batch, o *reliable.Outcome) (released []*reliable.OutboxEntry, waits bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	key := o.Entry.CausalityKey
	c := b.chains.keys[key]
	switch {
	case key == "" || c == nil:
	case b.chains.goesOn(o):
		// A RunTx completes its entry by itself. After a crash, what is before it
		// would run again, and later.
		if !o.Completed && b.run.OwesTx(c.rest[0]) {
			c.after = o.Entry.ID
			return nil, true
		}
		q.next(b, key, c)
	case !q.closed: // or else the drain gives them back
		released = c.rest
		q.left -= len(released)
		b.chains.held -= len(released)
		q.end(b, key)
		q.signal()
	}
	return released, false
}

// durable lets those of b begin that waited for these outcomes.
func (q *queue) durable(b *batch, outcomes []reliable.Outcome) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range outcomes {
		e := outcomes[i].Entry
		if c := b.chains.keys[e.CausalityKey]; c != nil && c.after == e.ID {
			c.after = 0
			q.next(b, e.CausalityKey, c)
		}
	}
}

// next makes the next entry of a key ready.
func (q *queue) next(b *batch, key string, c *chain) {
	if len(b.entries) == 0 { // older claims go first
		at, _ := slices.BinarySearchFunc(q.batches, b.Token(), func(other *batch, token int64) int { return int(other.Token() - token) })
		q.batches = slices.Insert(q.batches, at, b)
	}
	b.entries = append(b.entries, c.rest[0])
	q.ready++
	b.chains.held--
	if c.rest = c.rest[1:]; len(c.rest) == 0 {
		q.end(b, key)
	}
	q.more.Signal()
}

// end forgets a key of which nothing is held back.
func (q *queue) end(b *batch, key string) {
	delete(b.chains.keys, key)
	q.chains--
	if b.chains.held == 0 {
		delete(q.holding, b)
	}
}
