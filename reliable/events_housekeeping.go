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
