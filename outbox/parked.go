package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// ParkedKey is a causality key that stands still: its head is dead, and the
// policy of its workers is to park it.
type ParkedKey struct {
	Key    string
	Lane   int
	Head   int64     // id of the entry that is dead
	Since  time.Time // by the database's clock, UTC
	Reason string    // as the worker put it

	// Of the head.
	Context, Model, ModelID, Event string
	ErrorClass, ErrorMessage       string
	Attempts, Crashes              int

	Waiting int // entries of the key behind the head, counted up to [MaxWaiting]
}

// MaxWaiting is up to where [ParkedKey.Waiting] counts.
const MaxWaiting = 1000

// ParkedFilter selects parked keys: those to whose head every name applies that
// is set.
type ParkedFilter struct {
	Context    string // [reliable.ContextModel] for captured writes, or the application's own
	Model      string // name of the model as the entry has it, for example "Order"
	Event      string // for example "order_created"
	ErrorClass string // of the head's last failure, for example "timeout"

	Limit int // of the keys; 0 means [DefaultParkedLimit]
}

// DefaultParkedLimit is how many parked keys are returned or released if the
// filter does not say.
const DefaultParkedLimit = 100

// ParkedKeys returns what is parked and passes f, parked for longest first. It
// reads the parked keys until enough pass, a few hundred at a time, the head of
// each, and what waits behind it, all by index.
func (o *Outbox) ParkedKeys(ctx context.Context, f ParkedFilter) ([]ParkedKey, error) {
	plugin, err := reliable.From(o.db)
	if err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	if f.Limit < 0 {
		return nil, fmt.Errorf("outbox: parked keys: Limit is %d: want 1 or more, or 0 for %d", f.Limit, DefaultParkedLimit)
	}
	keys, err := selectParked(o.session(ctx), plugin.Tables(), f)
	if err != nil {
		return nil, fmt.Errorf("outbox: parked keys: %w", err)
	}
	return keys, nil
}
