package reliable

import "time"

// Progress is implemented by the context that a worker gives to
// [Batch.Process] and [Batch.ProcessGroup], if it wants to know how far they
// are.
type Progress interface {
	// Attempting is called when the attempt of a callback begins, and when one
	// that stands for longer than its timeout has a reason to: it waits to hear
	// whether its transaction is committed. It should be over, or call again,
	// within limit.
	Attempting(callback string, limit time.Duration)
}

// tell tells the worker, if it wants to know, how long a unit may take from now.
func (r *run) tell(u *unit, limit time.Duration) {
	if r.progress != nil {
		r.progress.Attempting(u.name, limit)
	}
}
