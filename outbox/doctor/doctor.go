// Package doctor examines an outbox: its tables, the database that it is in,
// and what of the program's own settings stands in its way. It only reads.
//
//	d := &doctor.Doctor{DB: db}
//	findings, err := d.Examine(ctx)
//	...
//	for _, f := range findings {
//		if f.Level != doctor.OK {
//			log.Printf("%s: %s: %s; %s", f.Level, f.Code, f.Seen, f.Do)
//		}
//	}
//
// Each examination has a code that does not change, and a deadline of its own:
// one that can't be made is a finding of the level [Unknown], and keeps no other
// from being made. docs/doctor.md lists them.
package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/outbox"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Level says how much a finding matters.
type Level string

// The levels, from the least that is to be done.
const (
	OK      Level = "ok"      // nothing is to be done
	Notice  Level = "notice"  // something to know
	Unknown Level = "unknown" // this could not be examined; Do says what it takes
	Warning Level = "warning" // it costs work, time or safety, or soon will
	Fault   Level = "fault"   // work is refused, stands still, or may be lost
)

// Finding is what was found by one examination. Of an examination there is at
// least one.
type Finding struct {
	Code  string `json:"code"` // of the examination, for example "indexes"; it does not change
	Level Level  `json:"level"`
	Seen  string `json:"seen"`         // a sentence, with the numbers and names that were seen
	Do    string `json:"do,omitempty"` // what to do; empty where there is nothing
}

// Doctor examines the outbox of a database. Every field but DB may be zero.
type Doctor struct {
	// DB is the database, with the plugin installed. What is examined of the
	// program itself, is of this handle: it should be opened as the program does.
	DB *gorm.DB

	// Threads is how many callbacks a worker of this program runs at once, Pool
	// how many connections they may use (THREADS and DB_POOL of a worker). Zero
	// means that it is not known, and not examined.
	Threads, Pool int

	// NoListen says that workers poll, and are not to be woken by PostgreSQL
	// (RELIABLE_LISTEN=off).
	NoListen bool

	// Redis asks the servers that hold the locks of ordered workers for their
	// setting maxmemory-policy: the method Evictions of a redislock.Locker. Nil
	// means that there is none.
	Redis func(ctx context.Context) (policies []string, err error)

	// Timeout bounds each examination. Zero means [DefaultTimeout].
	Timeout time.Duration

	// LongTransaction is how old a transaction may become, and OldPause how old a
	// pause, before they are warned of. Zero means [DefaultLongTransaction] and
	// [DefaultOldPause].
	LongTransaction, OldPause time.Duration

	// DeadRows is how many dead rows a table may have, on PostgreSQL. On MariaDB
	// ten times as many records of undo may wait. Zero means [DefaultDeadRows].
	DeadRows int64
}

// Defaults of Doctor.
const (
	DefaultTimeout         = 5 * time.Second
	DefaultLongTransaction = 5 * time.Minute
	DefaultOldPause        = 24 * time.Hour
	DefaultDeadRows        = 100_000
)

// ErrUnreachable says that the database gives no answer: nothing was examined.
var ErrUnreachable = errors.New("the database gives no answer")

// errLate is the cause of the end of an examination that took too long.
var errLate = errors.New("no answer")

// check is one examination. Its run returns at least one finding.
type check struct {
	code  string
	needs needs
	run   func(x *examination, tx *gorm.DB) ([]Finding, error)
}

// needs is what an examination wants to begin with.
type needs int

const (
	tables      needs = 1 << iota // those of the outbox
	transaction                   // one that only reads; on SQLite none
)

// examination is what is known while one goes on.
type examination struct {
	*Doctor
	db      *gorm.DB // for statements of its own, without a context
	plugin  *reliable.Plugin
	tables  reliable.Tables
	missing bool // tables are
	pooled  bool // a pooler gives each transaction another session

	glance    *outbox.Status // once it was read
	glanceErr error          // why it could not be
}

// Examine returns what was found, in the order of the examinations: those of
// one code follow each other. It returns an error, and nothing else, if DB has
// no plugin or no answer comes ([ErrUnreachable]), or ctx is done.
func (d *Doctor) Examine(ctx context.Context) ([]Finding, error) {
	if d.DB == nil || d.DB.Config == nil {
		return nil, errors.New("doctor: DB is not set: set it to the program's own handle, with the plugin installed")
	}
	plugin, err := reliable.From(d.DB)
	if err != nil {
		return nil, fmt.Errorf("doctor: %w", err)
	}
	filled := *d
	filled.Timeout = cmp.Or(d.Timeout, DefaultTimeout)
	filled.LongTransaction = cmp.Or(d.LongTransaction, DefaultLongTransaction)
	filled.OldPause = cmp.Or(d.OldPause, DefaultOldPause)
	filled.DeadRows = cmp.Or(d.DeadRows, DefaultDeadRows)
	x := &examination{
		Doctor: &filled, plugin: plugin, tables: plugin.Tables(),
		db: d.DB.Session(&gorm.Session{NewDB: true, Context: reliable.SkipContext(ctx)}),
	}
	if err := x.ping(ctx); err != nil {
		return nil, fmt.Errorf("doctor: %w: %w", ErrUnreachable, err)
	}
	var findings []Finding
	for _, c := range x.checks() {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("doctor: %w", context.Cause(ctx))
		}
		findings = append(findings, x.examine(ctx, c)...)
	}
	return findings, nil
}

// checks returns the examinations that the database knows, in their order.
func (x *examination) checks() []check {
	var all []check
	add := func(code string, needs needs, run func(x *examination, tx *gorm.DB) ([]Finding, error)) {
		all = append(all, check{code, needs, run})
	}
	dialect := x.db.Name()
	add("migrations", transaction, migrated)
	add("indexes", tables|transaction, indexes)
	if dialect != "sqlite" {
		add("storage", tables|transaction, storage)
	}
	if dialect == "postgres" {
		add("partitions", tables|transaction, partitions)
	}
	add("transactions", 0, defaultTransaction)
	add("orphans", tables, orphans)
	add("workers", tables, workers)
	add("pauses", tables, pauses)
	if dialect == "postgres" {
		add("listen", tables, listens)
	}
	add("connections", tables|transaction, connections)
	switch dialect {
	case "postgres":
		add("clock", transaction, clock)
		add("long_transactions", transaction, longTransactions)
		add("dead_rows", tables|transaction, deadRows)
		add("autovacuum", tables|transaction, autovacuum)
		add("settings", transaction, postgresSettings)
	case "mysql":
		add("clock", transaction, clock)
		add("long_transactions", transaction, mariaTransactions)
		add("dead_rows", transaction, undo)
		add("settings", transaction, mariaSettings)
	default:
		add("settings", transaction, sqliteSettings)
	}
	if x.Redis != nil {
		add("redis", 0, evictions)
	}
	return all
}

// examine makes one examination, within its deadline.
func (x *examination) examine(ctx context.Context, c check) []Finding {
	if c.needs&tables != 0 && x.missing {
		return []Finding{{c.code, Unknown, "tables are missing: this was not examined", "see migrations"}}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, x.Timeout, fmt.Errorf("%w within %s", errLate, x.Timeout))
	defer cancel()
	var findings []Finding
	run := func(tx *gorm.DB) (err error) {
		findings, err = c.run(x, tx)
		return err
	}
	err := x.read(ctx, c.needs&transaction != 0, run)
	if err != nil {
		findings = append(findings, x.unknown(ctx, err))
	}
	for i := range findings {
		findings[i].Code = c.code
	}
	return findings
}

// read runs f, in a transaction where it needs one: no resolver sends that to a
// replica. SQLite has none, and a transaction may keep others from writing there.
func (x *examination) read(ctx context.Context, inTransaction bool, f func(tx *gorm.DB) error) error {
	db := x.db.WithContext(reliable.SkipContext(ctx))
	if !inTransaction || db.Name() == "sqlite" {
		return f(db)
	}
	return db.Transaction(f)
}

// unknown is the finding of an examination that could not be made.
func (x *examination) unknown(ctx context.Context, err error) Finding {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	f := Finding{Level: Unknown, Seen: "this could not be examined: " + err.Error(), Do: "run it again as a role that may see this, for example the tables' owner"}
	if errors.Is(err, errLate) {
		f.Do = "run it again when the database has less to do; a lock that somebody holds on the tables, a table that was never analyzed, or a pool without a free connection, shows like this, too"
	}
	return f
}

// ping waits for an answer.
func (x *examination) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, x.Timeout)
	defer cancel()
	pool, err := x.db.DB()
	if err != nil {
		return err
	}
	return pool.PingContext(ctx)
}

func ok(format string, args ...any) []Finding {
	return []Finding{{Level: OK, Seen: fmt.Sprintf(format, args...)}}
}

// orOK returns what was found, or that all is well.
func orOK(found []Finding, format string, args ...any) []Finding {
	if len(found) > 0 {
		return found
	}
	return ok(format, args...)
}
