package reliable

import "time"

// Event is something that happened, told to the subscribers of a [Monitor].
// The events are the pointers to this package's event structs, and no others.
// Events carry entries by pointer: read them, do not change them.
type Event interface {
	// Name is the event's stable name, for example "entry_failed".
	Name() string

	event()
}

// Started says that a worker is registered and begins to claim.
type Started struct {
	Worker    string // random id of this run of the worker
	Threads   int
	Processor string // "non_ordered" or "ordered"
}

// ShuttingDown says that a worker stops claiming and finishes what runs.
type ShuttingDown struct {
	Worker  string
	Cause   error         // what asked for it, for example a signal
	Timeout time.Duration // how long running work may take before its context is cancelled
}

// Stopped says that a worker has ended; no event of it follows.
type Stopped struct {
	Worker   string
	Released int   // entries claimed but not worked, given back
	Err      error // nil for a clean stop
}

// BatchClaimed says that a worker holds a batch of entries.
type BatchClaimed struct {
	Worker  string
	Token   int64 // fencing token of the claim
	Entries int
	Took    time.Duration
}

// EntryProcessed says that nothing is owed for an entry any more, durably.
type EntryProcessed struct {
	Entry   *OutboxEntry
	Results []Result // of the last run
}

// EntryFailed says that a callback of an entry failed; durably, so RetryAt holds.
type EntryFailed struct {
	Entry    *OutboxEntry
	Callback string
	Attempt  int
	Err      error
	RetryAt  time.Time // zero: it was the last attempt
	Took     time.Duration
}

// EntryDied says that an entry is kept for an operator: no callback of it is
// pending and at least one is dead.
type EntryDied struct {
	Entry        *OutboxEntry
	ErrorClass   string
	ErrorMessage string
}

// EntryDiscarded says that a callback of an entry was given up without being a
// failure: it asked for it, or the row of an update is gone.
type EntryDiscarded struct {
	Entry    *OutboxEntry
	Callback string
	Reason   string
}

// EntriesRescued says that a dead worker's entries were taken from it.
type EntriesRescued struct {
	Worker  string // the dead one
	Entries int    // now suspects: each runs alone next
	Died    int    // of those, dead because their crashes reached the limit
}

// LeaseLost says that a worker no longer holds a claim; what it had not
// finished is, or will be, another worker's.
type LeaseLost struct {
	Worker  string
	Token   int64
	Entries int // that were not finished
}

// OrphansFound says that entries wait that this worker's binary does not
// cover. They stay untouched.
type OrphansFound struct {
	Context       string
	ResourceClass string
	EventName     string
	Owed          []string
	Entries       int // how many, among the oldest 100,000 of the table
}

// ErrorOccurred says that the worker itself had an error; it goes on.
type ErrorOccurred struct {
	Worker string
	Step   string // what it was doing, for example "claim"
	Err    error
}

// WakeupDegraded says that a worker is not woken by the commits of other
// processes: until [WakeupRestored] it finds their entries by its poll.
type WakeupDegraded struct {
	Worker string
	Err    error // why, and what to do if it does not pass by itself
}

// WakeupRestored says that the commits of other processes wake a worker again.
type WakeupRestored struct {
	Worker string
	After  time.Duration // how long they did not
}

// HeartbeatSent says that a worker got or renewed its lease, which lasts from
// Sent on. A heartbeat that came too late is none.
type HeartbeatSent struct {
	Worker string
	Sent   time.Time // by this process's clock, with its monotonic reading
	Took   time.Duration
}

// Name implements [Event] with the stable names. Those of the Ruby gem are kept
// where the event is the same.
func (*Started) Name() string        { return "started" }
func (*ShuttingDown) Name() string   { return "shutting_down" }
func (*Stopped) Name() string        { return "stopped" }
func (*BatchClaimed) Name() string   { return "batch_claimed" }
func (*EntryProcessed) Name() string { return "record_processed" }
func (*EntryFailed) Name() string    { return "record_processing_failed" }
func (*EntryDied) Name() string      { return "entry_died" }
func (*EntryDiscarded) Name() string { return "entry_discarded" }
func (*EntriesRescued) Name() string { return "entries_rescued" }
func (*LeaseLost) Name() string      { return "lease_lost" }
func (*OrphansFound) Name() string   { return "orphans_found" }
func (*ErrorOccurred) Name() string  { return "error" }
func (*WakeupDegraded) Name() string { return "wakeup_degraded" }
func (*WakeupRestored) Name() string { return "wakeup_restored" }
func (*HeartbeatSent) Name() string  { return "heartbeat" }

func (*Started) event()        {}
func (*ShuttingDown) event()   {}
func (*Stopped) event()        {}
func (*BatchClaimed) event()   {}
func (*EntryProcessed) event() {}
func (*EntryFailed) event()    {}
func (*EntryDied) event()      {}
func (*EntryDiscarded) event() {}
func (*EntriesRescued) event() {}
func (*LeaseLost) event()      {}
func (*OrphansFound) event()   {}
func (*ErrorOccurred) event()  {}
func (*WakeupDegraded) event() {}
func (*WakeupRestored) event() {}
func (*HeartbeatSent) event()  {}

// eventNames returns the names of all events, in the order of a worker's life.
func eventNames() []string {
	var names []string
	for _, e := range []Event{
		&Started{}, &BatchClaimed{}, &EntryProcessed{}, &EntryFailed{}, &EntryDied{}, &EntryDiscarded{}, &KeyParked{}, &KeyReleased{}, &EntriesChanged{},
		&EntriesRescued{}, &LeaseLost{}, &OrphansFound{}, &BreakerOpened{}, &BreakerClosed{}, &WorkPaused{}, &WorkResumed{}, &ErrorOccurred{},
		&HeartbeatSent{}, &WakeupDegraded{}, &WakeupRestored{}, &HistoryPruned{}, &BloatFound{}, &BloatCleared{}, &LatencyMeasured{}, &OutboxMeasured{},
		&ShuttingDown{}, &Stopped{},
	} {
		names = append(names, e.Name())
	}
	return names
}
