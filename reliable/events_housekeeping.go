package reliable

import "time"

// HistoryPruned says that entries which were done longer ago than the
// retention are gone.
type HistoryPruned struct {
	Worker string
	Table  string        // where they were; on PostgreSQL a partition of the history, which was dropped
	Rows   int64         // how many were deleted; 0 for a partition
	Bytes  int64         // what a dropped partition took on disk; 0 where rows were deleted
	Took   time.Duration // with the pauses between the batches
}

// BloatFound says that a table keeps many dead row versions and that the
// database can't or doesn't remove them. It is told again every hour until
// [BloatCleared], and when somebody else is the first of Holders.
type BloatFound struct {
	Worker   string
	Table    string          // the one with most of them; on MariaDB the undo log
	DeadRows int64           // row versions that nobody needs, or that Holders still need
	LiveRows int64           // about; 0 on MariaDB
	Vacuumed time.Time       // when PostgreSQL last vacuumed the table; zero: never, or on MariaDB
	Holders  []HorizonHolder // what keeps row versions, the oldest first; empty: nothing does, so vacuum does not run or not keep up
}

// BloatCleared says that what a [BloatFound] told of is over.
type BloatCleared struct {
	Worker   string
	Table    string
	DeadRows int64
}

// HorizonHolder is something for which a database keeps row versions that are
// dead for everybody else.
type HorizonHolder struct {
	Kind        string        // "session", "prepared transaction", "replication slot", "standby"
	PID         int           // of the session, or of the process that uses the slot; 0 is none
	Name        string        // of the prepared transaction, the slot or the standby
	User        string        // empty where the worker's role may not see it
	Application string        // application_name; on MariaDB the client's host
	State       string        // for example "idle in transaction"; empty where the worker's role may not see it
	Age         time.Duration // how long it has been holding, as far as it is known
}

// LatencyMeasured says, once in a while, how long entries wait. It is the whole
// outbox's, measured by one worker.
type LatencyMeasured struct {
	Worker  string
	Oldest  time.Duration // since the oldest entry was created that is neither done nor dead; 0: there is none
	Overdue time.Duration // how long the entry has been due that has been due for longest; 0: none is
	Backlog int           // entries that were never tried, up to 10,000

	// Of the entries that were done in the last minute, at most a few thousand
	// of the newest: how many these are, and the time from their creation to
	// their end. All are 0 where done entries are deleted.
	Processed                 int
	Minimum, Maximum, Average time.Duration
}

// Gauge is a number that may be an estimate: counts end at 100,000, above which
// the statistics of the database say about how many there are.
type Gauge struct {
	N      int64
	Approx bool
}

// OutboxMeasured says, once in a while, how much there is of what. It is the
// whole outbox's, measured by one worker. All ages are 0 if there is none.
type OutboxMeasured struct {
	Worker string

	Pending    Gauge // entries that are neither done nor dead: eligible, waiting or held
	Eligible   Gauge // entries that a worker may claim
	Waiting    Gauge // entries that failed and are not due yet
	Held       Gauge // entries that workers hold
	Dead       Gauge // entries that are kept for an operator
	ParkedKeys Gauge // causality keys that stand still
	Orphans    Gauge // entries that this worker's binary does not cover, among the oldest 100,000 that are pending

	OldestEligible time.Duration // since it was written
	OldestDead     time.Duration // since the first died
	OldestParked   time.Duration // since the key was parked
	OldestOrphan   time.Duration // since it was written

	Workers int // that live, at most a thousand
	Threads int // of these workers
	Pauses  int // that operators made and did not end

	// DeadRows is how many row versions that nobody needs the worst table of
	// the outbox has, as PostgreSQL's statistics say; on MariaDB the length
	// of the server's undo log; 0 on SQLite.
	DeadRows int64
}

// Name implements [Event].
func (*OutboxMeasured) Name() string { return "outbox_measured" }

func (*OutboxMeasured) event() {}

// Name implements [Event].
func (*HistoryPruned) Name() string { return "history_pruned" }

// Name implements [Event].
func (*BloatFound) Name() string { return "bloat_found" }

// Name implements [Event].
func (*BloatCleared) Name() string { return "bloat_cleared" }

// Name implements [Event].
func (*LatencyMeasured) Name() string { return "latency_measured" }

func (*HistoryPruned) event()   {}
func (*BloatFound) event()      {}
func (*BloatCleared) event()    {}
func (*LatencyMeasured) event() {}
