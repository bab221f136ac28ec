package chaos

import "math/rand/v2"

// FaultKind is what a round does to the processes.
type FaultKind string

// The kinds of faults.
const (
	Kill         FaultKind = "kill"     // SIGKILL of a worker
	Stop         FaultKind = "stop"     // SIGSTOP of a worker, three leases long
	Term         FaultKind = "term"     // SIGTERM of a worker
	KillDatabase FaultKind = "database" // SIGKILL of the database, and a restart
	Cut          FaultKind = "cut"      // a connection is reset
	Unheard      FaultKind = "unheard"  // a connection is reset after the server did what it was asked, before the answer
	KillProducer FaultKind = "producer" // SIGKILL of an application
)

// Faults is how many of each kind a round has.
type Faults map[FaultKind]int

// Fault is one that is due.
type Fault struct {
	Kind FaultKind
	At   float64 // share of the entries that are done then
	Pick uint64  // draws whom it hits
}

// Schedule draws an order of the faults, the same one for the same seed. They
// are spread evenly over the work, and those of the database among them.
func Schedule(seed uint64, faults Faults) []Fault {
	r := rand.New(rand.NewPCG(seed, 7))
	var list []Fault
	for _, kind := range []FaultKind{Kill, Stop, Term, Cut, Unheard, KillProducer} {
		for range faults[kind] {
			list = append(list, Fault{Kind: kind})
		}
	}
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	databases := faults[KillDatabase]
	var all []Fault
	for i, f := range list {
		all = append(all, f)
		for n := range databases {
			if (n+1)*len(list)/(databases+1) == i {
				all = append(all, Fault{Kind: KillDatabase})
			}
		}
	}
	for i := range all {
		all[i].At, all[i].Pick = 0.02+0.9*float64(i)/float64(len(all)), r.Uint64()
	}
	return all
}
