package reliable

import "slices"

// Admission says which entries a processor leaves where they are, since
// nothing that they owe may run now: an operator paused it, or its breaker is
// open. One goroutine at a time may use it.
type Admission struct {
	plugin *Plugin
	rooms  map[*gate]int // of breakers that are not closed: how many runs they let through
	kinds  map[int64]*kindOf
	held   map[int64]*kindOf // seen while they could not run; they may be able to now
}

// kindOf is what the entries of one kind share.
type kindOf struct {
	names   OutboxEntry
	pending []*unit // and perhaps some that are done
}

// maxKinds is how many kinds an Admission remembers.
const maxKinds = 4096

// Admission returns an Admission for one processor.
func (p *Plugin) Admission() *Admission {
	return &Admission{plugin: p, kinds: make(map[int64]*kindOf), held: make(map[int64]*kindOf)}
}

// Begin looks at pauses and breakers, for one claim. It reports whether
// entries may run again that were left alone, however many.
func (a *Admission) Begin() (again bool) {
	a.rooms = nil
	a.plugin.gates.Range(func(_, value any) bool {
		g := value.(*gate)
		if n := g.room(); n >= 0 {
			if a.rooms == nil {
				a.rooms = make(map[*gate]int)
			}
			a.rooms[g] = n
		}
		return true
	})
	for kind, k := range a.held {
		if slices.ContainsFunc(k.pending, func(u *unit) bool { _, bounded := a.room(k, u); return !bounded }) {
			delete(a.held, kind)
			again = true
		}
	}
	return again
}

// Kinds returns the kinds that a claim need not read, sorted.
func (a *Admission) Kinds() []int64 {
	var kinds []int64
	for kind, k := range a.held {
		if !slices.ContainsFunc(k.pending, func(u *unit) bool { n, bounded := a.room(k, u); return !bounded || n > 0 }) {
			kinds = append(kinds, kind)
		}
	}
	slices.Sort(kinds)
	return kinds
}

// Admits reports whether a claim that was begun may take e. An entry that may
// run in part is taken; its other callbacks are put off.
func (a *Admission) Admits(e *OutboxEntry) bool {
	if a.rooms == nil && a.plugin.pauses.Load() == nil {
		return true
	}
	k := a.kind(e)
	if k == nil {
		return true
	}
	for _, u := range k.pending {
		switch n, bounded := a.room(k, u); {
		case !bounded:
			return true
		case n > 0:
			a.rooms[u.gate]--
			return true
		}
	}
	a.held[e.Kind] = k
	return false
}

// room returns how many runs of a unit may begin, if that has a bound.
func (a *Admission) room(k *kindOf, u *unit) (n int, bounded bool) {
	if a.plugin.paused(&k.names, u) {
		return 0, true
	}
	n, bounded = a.rooms[u.gate]
	return n, bounded
}

// kind returns what e's kind has in common, nil if its kind is not made of its
// names.
func (a *Admission) kind(e *OutboxEntry) *kindOf {
	if k := a.kinds[e.Kind]; k != nil {
		return k
	}
	k := &kindOf{names: OutboxEntry{Context: e.Context, ResourceClass: e.ResourceClass, EventName: e.EventName, Owed: e.Owed}}
	k.pending = a.plugin.units(e)
	if e.Kind != EntryKind(e.Context, e.ResourceClass, e.EventName, e.Owed) {
		r := run{entry: e, units: k.pending}
		if r.readStates() != nil {
			return nil
		}
		var names []string
		k.pending = nil
		for i, u := range r.units {
			if r.states[i].State == unitPending {
				k.pending, names = append(k.pending, u), append(names, u.name)
			}
		}
		if e.Kind != pendingKind(e, names) {
			return nil
		}
	}
	if len(a.kinds) >= maxKinds {
		clear(a.kinds)
	}
	a.kinds[e.Kind] = k
	return k
}
