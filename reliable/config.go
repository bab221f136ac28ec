package reliable

import (
	"context"
	"errors"
	"fmt"
	"regexp"
)

// Config configures a Plugin. Registry is required, but with AllModels; the
// zero value of every other field is its usual setting.
type Config struct {
	// Registry says what is owed for which writes.
	Registry *Registry

	// AllModels records every write of every model that has a primary key,
	// registered or not, for the record processors of [ContextModel]; also the
	// rows of join tables. The class of a model that is not registered is the
	// name of its type, or its table's if another model has that name. If this
	// registry has no such processor, the entries wait for a worker that has
	// one. [Ignore] leaves a model out.
	AllModels bool

	// Monitor gets the events. Nil means one that nobody listens to;
	// [Plugin.Monitor] returns it.
	Monitor *Monitor

	// CausalityKey names what entries of models without a CausalityKey of
	// their own are ordered by. The model is a *T: the row as written, or, for
	// a destroy, as it was. "" means unordered.
	CausalityKey func(ctx context.Context, model any) string

	// StrictOrder makes ids follow the commits for entries of one causality
	// key. A key that is coarser than a row needs it: without, a change that
	// got its id first may commit last, and be worked last. The key is locked
	// when a change is captured, until the commit: writers of one key wait for
	// each other, and transactions that write several keys in opposite orders
	// deadlock; [Transaction] takes the locks sorted, before its COMMIT. On
	// SQLite ids follow the commits anyway. Model.StrictOrder sets it for one
	// model.
	StrictOrder bool

	// Headers returns what to keep of a writer's context with the entry:
	// trace, tenant, request. ContextWithHeaders is its inverse: it puts the
	// headers into the context of the callbacks.
	Headers            func(ctx context.Context) map[string]string
	ContextWithHeaders func(ctx context.Context, headers map[string]string) context.Context

	// RequireTransaction refuses a watched write outside a transaction
	// (SkipDefaultTransaction) instead of opening one around it.
	RequireTransaction bool

	// AllowUncaptured lets writes through that the plugin sees and can't
	// record: by raw SQL, without a model, or of another struct, to the table
	// of a registered model (with AllModels: to any table but the outbox's);
	// of a registered model to another table; of a model without a primary
	// key, with AllModels. Otherwise they are errors.
	AllowUncaptured bool

	// Breaker is the setting of callbacks without one of their own, and of all
	// record processors. Nil means the usual.
	Breaker *Breaker

	// NoNotify keeps the plugin from sending a NOTIFY after commits, which wakes
	// the workers of other processes on PostgreSQL: they wait for their poll
	// then. It is sent outside of the writers' transactions, by another
	// connection of their pool, at most every 5 ms, and costs them nothing.
	NoNotify bool

	// Encryption are the keys that encrypt what entries carry. Nil means that
	// it is stored in clear.
	Encryption KeyRing

	// Tables says where the outbox's tables are.
	Tables Tables

	// MaxRows is the most rows that one statement may change of a watched
	// model. Zero means [DefaultMaxRows].
	MaxRows int

	// MaxEntryBytes is the most that one entry's changeset or arguments may
	// take, in bytes of JSON, before encryption. Zero means [DefaultMaxEntryBytes].
	MaxEntryBytes int
}

// Defaults of Config.
const (
	DefaultMaxRows       = 10_000
	DefaultMaxEntryBytes = 1 << 20
)

// Tables names the outbox's tables. The zero value is the connection's default
// schema and names without a prefix.
type Tables struct {
	Schema string // PostgreSQL: schema; MariaDB: database; empty = the connection's
	Prefix string // put before each name, for example "shop_"
}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,39}$`)

// Validate reports a schema or prefix that is no plain identifier. Anything
// that ends in SQL text is held to that, whoever configured it.
func (t Tables) Validate() error {
	var errs []error
	if t.Schema != "" && !identifier.MatchString(t.Schema) {
		errs = append(errs, fmt.Errorf("tables.Schema %q: want letters, digits and _, at most 40, not starting with a digit", t.Schema))
	}
	if t.Prefix != "" && !identifier.MatchString(t.Prefix) {
		errs = append(errs, fmt.Errorf("tables.Prefix %q: want letters, digits and _, at most 40, not starting with a digit", t.Prefix))
	}
	return errors.Join(errs...)
}

// Entries is the hot table: what is not done.
func (t Tables) Entries() string { return t.name("outbox_entries") }

// Claims holds what is being worked on.
func (t Tables) Claims() string { return t.name("outbox_claims") }

// Workers has a heartbeat row per worker.
func (t Tables) Workers() string { return t.name("outbox_workers") }

// History holds what is done.
func (t Tables) History() string { return t.name("outbox_history") }

// Lanes has the owner of each lane of the ordered processor.
func (t Tables) Lanes() string { return t.name("outbox_lanes") }

// ParkedKeys has the causality keys that stopped at a failing head.
func (t Tables) ParkedKeys() string { return t.name("outbox_parked_keys") }

// KeyLocks has the rows that StrictOrder locks on MariaDB, which lacks locks
// that end with a transaction.
func (t Tables) KeyLocks() string { return t.name("outbox_key_locks") }

// Pauses has what an operator paused.
func (t Tables) Pauses() string { return t.name("outbox_pauses") }

// Duties says which worker does what one at a time does for all.
func (t Tables) Duties() string { return t.name("outbox_duties") }

// Migrations has the versions that were applied.
func (t Tables) Migrations() string { return t.name("outbox_migrations") }

// name returns a table's name, unquoted: it is made of identifiers that need
// no quoting in any of the databases.
func (t Tables) name(table string) string { return t.qualified(t.Prefix + table) }

// qualified returns a table's name in the schema.
func (t Tables) qualified(name string) string {
	if t.Schema != "" {
		return t.Schema + "." + name
	}
	return name
}
