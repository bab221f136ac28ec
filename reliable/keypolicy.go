package reliable

import (
	"cmp"
	"fmt"
)

// KeyPolicy says what a worker that keeps order per causality key does with an
// entry that can't be done, while later entries of its key wait. Empty means
// that entries are not ordered.
type KeyPolicy string

// What becomes of a key whose first entry fails.
const (
	// KeyPark stops the key, and only it, once the entry is dead, until an
	// operator retries or discards that. Callbacks without a MaxAttempts of
	// their own are dead after [DefaultOrderedMaxAttempts].
	KeyPark KeyPolicy = "park"

	// KeyBlock lets no entry die: whatever failed runs again for ever, with
	// its backoff, also after [Permanent]. [Discard] still ends it.
	KeyBlock KeyPolicy = "block"

	// KeySkip goes on with the key once the entry is dead, after as many
	// attempts as without an order.
	KeySkip KeyPolicy = "skip"
)

// DefaultOrderedMaxAttempts is how often a callback without MaxAttempts may
// fail before its key is parked: all that follows waits for it.
const DefaultOrderedMaxAttempts = 10

// Validate returns an error unless the policy is empty or one of the constants.
func (p KeyPolicy) Validate() error {
	switch p {
	case "", KeyPark, KeyBlock, KeySkip:
		return nil
	}
	return fmt.Errorf("key policy %q: want %s, %s or %s", string(p), KeyPark, KeyBlock, KeySkip)
}

// keyPolicy returns what holds for the run's entry.
func (r *run) keyPolicy() KeyPolicy {
	if r.entry.CausalityKey == "" {
		return ""
	}
	return r.batch.KeyPolicy
}

// die ends the entry, and its key with it unless that goes on.
func (r *run) die() {
	r.out.State = StateDead
	policy := r.keyPolicy()
	r.out.Parked = policy == KeyPark || policy == KeyBlock
}

// exhausted reports whether something that failed so often does not run again.
// own is its MaxAttempts, 0 for the usual.
func (r *run) exhausted(attempts, own int, permanent bool) bool {
	usual := DefaultMaxAttempts
	switch r.keyPolicy() {
	case KeyBlock:
		return false
	case KeyPark:
		usual = DefaultOrderedMaxAttempts
	case KeySkip:
	}
	return permanent || attempts >= cmp.Or(own, usual)
}
