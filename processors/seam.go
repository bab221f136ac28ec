package processors

import (
	"context"
	"database/sql"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// EntriesProcessor decides which entries a worker gets and makes what became
// of them durable. One value serves one worker. Both methods are called from
// one goroutine each.
type EntriesProcessor interface {
	// Run registers the worker with the database, then keeps its lease alive,
	// takes over from dead workers and tends the tables until ctx is done;
	// then it deregisters and returns nil. It returns an error at once if the
	// database can't be worked on as it is (tables missing, version behind).
	// It calls ready once Claim may be called.
	Run(ctx context.Context, site Site, ready func()) error

	// Claim takes up to n due entries for this worker, durably, before it
	// returns them. Nothing due is a nil Claim and no error.
	Claim(ctx context.Context, n int) (Claim, error)
}

// Site is what a worker gives its processor to work with.
type Site struct {
	DB      *gorm.DB         // the application's handle, with the plugin installed
	Plugin  *reliable.Plugin // registry, monitor, tables
	Worker  string           // random id of this run of the worker
	Threads int              // executors of the worker

	// Own is where the processor takes the connections from that it keeps for
	// itself. Nil means DB's pool: then callbacks that use that up keep the
	// processor from replacing a broken one.
	Own *sql.DB

	// Pooled says that a pooler gives each transaction another session of the
	// server, so that what a session keeps is lost.
	Pooled bool

	// Beat, if set, is told that a loop of the processor lives, and is stuck if
	// it does not say so again within that time. Within 0 the loop has ended.
	// It may be called from any goroutine, and is quick. "claim" is the loop
	// that calls Claim: the worker tells of that one, too, before each call, and
	// a processor whose Claim may take longer than a minute says so.
	Beat func(loop string, within time.Duration)
}

// beat tells the worker of a loop.
func (s Site) beat(loop string, within time.Duration) {
	if s.Beat != nil {
		s.Beat(loop, within)
	}
}

// Prober is implemented by an [EntriesProcessor] that can say whether the
// database takes writes of its worker.
type Prober interface {
	// Probe writes what changes nothing, on a connection of its own, and
	// returns the error that it came to. It may be called from any goroutine
	// once Run has called ready, and until ctx of Run is done.
	Probe(ctx context.Context) error
}

// KeyOrdered is implemented by an [EntriesProcessor] whose claims keep the order
// of causality keys. A claim holds the first unfinished entries of a key, as
// many as it likes, and no other claim holds any of that key at the same time.
// The worker runs them one after the other, by id. When one of them is neither
// done nor skipped, it gives back those that follow, as
// [reliable.StateReleased], in the Finish that tells of that one or a later one.
type KeyOrdered interface {
	// KeyPolicy says what becomes of a key whose first entry can't be done. It
	// is always the same once Run has called ready. Empty is that of a processor
	// without an order, after all.
	KeyPolicy() reliable.KeyPolicy
}

// Claim is a batch of entries that a worker holds until it has finished or
// released each of them. Finish and Release may be called from any goroutine,
// one at a time.
type Claim interface {
	// Entries returns what was claimed, by id.
	Entries() []*reliable.OutboxEntry

	// Token is the claim's fencing token. It grows from claim to claim.
	Token() int64

	// At is the database's time of the claim, UTC.
	At() time.Time

	// Finish writes the outcomes of some of the entries, in one transaction. An
	// entry that is [reliable.StateReleased] is given back as by Release.
	// [reliable.ErrLeaseLost] means that the claim is no longer this worker's
	// and that nothing was changed. After any other error the outcome is
	// unknown: call Finish again with the same outcomes until it is known; a
	// repetition changes nothing.
	Finish(ctx context.Context, outcomes []reliable.Outcome) error

	// The methods of TxFinisher may be called while Finish or Release runs.
	reliable.TxFinisher

	// Release gives back the entries that were not finished. They are due at
	// once, no attempt is burnt, and they are no suspects.
	Release(ctx context.Context) error

	// Lost is closed when the worker can no longer trust that it holds the
	// claim. A worker asks before it starts an entry: when the lease is over,
	// the channel is closed by the time that Lost returns it.
	Lost() <-chan struct{}
}
