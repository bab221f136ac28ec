package matrix_test

import (
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// The worker of a cell has one thread, and makes each entry durable by itself:
// then it is known what a kill may cost.
const (
	threads = 1
	group   = 1
	bound   = threads + 2*group
)

// cell is a point to die at, and what it may cost.
type cell struct {
	point       string // name, and at which hit
	least, most int    // entries that run again
	way         way
	only        testdb.Dialect // empty is all
	not         testdb.Dialect // where the code does not come by
}

// way is how a worker comes to a point: none of these, or several.
type way int

const (
	draining  way = 1 << iota // it gets SIGTERM
	rescuing                  // another worker died before
	failing                   // an entry fails for good
	transacts                 // a callback runs in a transaction
	ordered                   // it works in order
)

// is reports whether w has one of those ways.
func (w way) is(one way) bool { return w&one != 0 }

// env returns the settings of the workers.
func (w way) env() (env []string) {
	if w.is(failing) {
		env = append(env, "MATRIX_BAD=3")
	}
	if w.is(ordered) {
		env = append(env, "MATRIX_ORDERED=yes")
	}
	return env
}

// String says what must be told beside a cell's point.
func (w way) String() string {
	if w.is(ordered) {
		return " in order"
	}
	return ""
}

func cells() []cell {
	return []cell{
		{point: "worker.registered"},
		{point: "worker.leaving", way: draining},
		{point: "heartbeat.before", most: bound},
		{point: "heartbeat.written", most: bound},
		{point: "rescue.before_commit", most: 2 * bound, way: rescuing},

		// Before a claim is committed nothing has begun.
		{point: "claim.begun:2", most: bound},
		{point: "claim.selected"},
		{point: "claim.inserted"},
		{point: "claim.committed"},
		{point: "claim.committed:3", most: bound},

		// The first entry is about to run, is running, has run.
		{point: "callback.before"},
		{point: "callback.running", least: 1, most: 1},
		{point: "callback.running:2", least: 1, most: 1},
		{point: "callback.after", least: 1, most: 1},
		{point: "callback.after:7", least: 1, most: bound},

		// The first finish is of the first entry alone; meanwhile others may run.
		{point: "finish.sending", least: 1, most: bound},
		{point: "finish.fenced", least: 1, most: bound, not: testdb.Postgres}, // one statement there: see TestKillWhileSent
		{point: "finish.written", least: 1, most: bound, not: testdb.Postgres},
		{point: "finish.written:5", least: 1, most: bound, not: testdb.Postgres},
		{point: "finish.failed", least: 1, most: bound, way: failing, not: testdb.Postgres},
		{point: "finish.committed", most: bound - 1},
		{point: "finish.committed:5", most: bound - 1},

		{point: "release.before", most: bound, way: draining},
		{point: "release.deleted", most: bound, way: draining},
		{point: "release.committed", most: bound, way: draining},

		{point: "lanes.locked", way: ordered},
		{point: "lanes.moved", way: ordered},
		{point: "claim.selected:2", most: bound, way: ordered},
		{point: "claim.inserted:2", most: bound, way: ordered},
		{point: "claim.committed", way: ordered},
		{point: "claim.committed:3", most: bound, way: ordered},
		{point: "callback.running:6", least: 1, most: bound, way: ordered},
		{point: "callback.after:7", least: 1, most: bound, way: ordered},
		{point: "finish.sending:3", least: 1, most: bound, way: ordered},
		{point: "finish.written:5", least: 1, most: bound, way: ordered, not: testdb.Postgres},
		{point: "finish.committed:5", most: bound - 1, way: ordered},
		{point: "rescue.before_commit", most: 2 * bound, way: ordered | rescuing},
		{point: "release.before", most: bound, way: ordered | draining},
		{point: "release.committed", most: bound, way: ordered | draining},

		{point: "runtx.finished:3", least: 1, most: bound, way: transacts},
		{point: "runtx.committed:3", most: bound, way: transacts},
	}
}
