package reliabletest

import (
	"cmp"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// InOrder works from now on as processors.OrderedByCausalityKey does: an entry
// whose causality key has an earlier one that is not done waits for that. policy
// says what becomes of a key whose entry is dead; empty means
// [reliable.KeyPark]. Without a call of InOrder entries wait for no other, as
// with processors.NonOrdered.
func (o *Outbox) InOrder(policy reliable.KeyPolicy) {
	o.t.Helper()
	if err := policy.Validate(); err != nil {
		o.t.Fatalf("reliabletest: InOrder: %v", err)
	}
	o.policy = cmp.Or(policy, reliable.KeyPark)
}

// stops reports whether a dead entry stops its key.
func (o *Outbox) stops() bool { return o.policy == reliable.KeyPark || o.policy == reliable.KeyBlock }

// holds are the causality keys that wait for an entry.
type holds map[string]bool

// hold lets the entries of e's key that come after it wait.
func (o *Outbox) hold(h holds, e *reliable.OutboxEntry) {
	if o.policy != "" && e.CausalityKey != "" {
		h[e.CausalityKey] = true
	}
}
