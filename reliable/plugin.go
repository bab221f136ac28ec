// Package reliable runs callbacks after a commit of GORM: reliably, though the
// process may die right after it.
//
// A [Registry] says which callbacks the changes of which models owe. The
// [Plugin] records each change in the outbox, in the change's own transaction.
// A worker (package worker) reads the outbox and runs what is owed, at least
// once, as a [Batch].
package reliable

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/seal"
)

// pluginName is the plugin's name in gorm.Config.Plugins.
const pluginName = "reliable"

// Plugin records the changes of registered models in the outbox. Install it
// with db.Use; the worker finds it there by [From].
type Plugin struct {
	cfg     Config
	watches map[reflect.Type]*watch // of registered models
	others  sync.Map                // of *watch by *schema.Schema: what AllModels adds
	plans   sync.Map                // of *plan by EntryKind
	runs    sync.Pool               // of *run, to be used again
	buffers buffers
	wakes   wakes
	gates   sync.Map                // of *gate by *callback or *handler
	pauses  atomic.Pointer[[]Pause] // nil without any
	seals   *seal.Ring              // nil without keys
	noSeals error                   // what is wrong with them
}

var _ gorm.Plugin = (*Plugin)(nil)

// New returns a Plugin for db.Use, which reports what is wrong with cfg.
func New(cfg Config) *Plugin {
	cfg.MaxRows = cmp.Or(cfg.MaxRows, DefaultMaxRows)
	cfg.MaxEntryBytes = cmp.Or(cfg.MaxEntryBytes, DefaultMaxEntryBytes)
	if cfg.Monitor == nil {
		cfg.Monitor = new(Monitor)
	}
	if cfg.Registry == nil && cfg.AllModels {
		cfg.Registry = new(Registry)
	}
	seals, err := cfg.Encryption.open()
	cfg.Encryption = nil // a plugin that is printed tells no secret
	return &Plugin{cfg: cfg, seals: seals, noSeals: err}
}

// Name implements [gorm.Plugin]. It returns "reliable".
func (p *Plugin) Name() string { return pluginName }

// Monitor returns the monitor that gets the plugin's and its workers' events.
func (p *Plugin) Monitor() *Monitor { return p.cfg.Monitor }

// Registry returns the registry that says what is owed.
func (p *Plugin) Registry() *Registry { return p.cfg.Registry }

// Tables returns the names of the outbox's tables.
func (p *Plugin) Tables() Tables { return p.cfg.Tables }

// From returns the plugin that is installed in db, or an error that says how
// to install one.
func From(db *gorm.DB) (*Plugin, error) {
	if db == nil || db.Config == nil {
		return nil, errors.New("reliable: no database: pass the *gorm.DB that the plugin is installed in")
	}
	p, ok := db.Plugins[pluginName].(*Plugin)
	if !ok {
		return nil, errors.New("reliable: the plugin is not installed: call db.Use(reliable.New(reliable.Config{Registry: ...}))")
	}
	return p, nil
}

// Initialize implements [gorm.Plugin]. It returns every mistake in the
// configuration and the registry at once, and changes nothing if there is one.
func (p *Plugin) Initialize(db *gorm.DB) error {
	if p.cfg.Registry == nil {
		return errors.New("reliable: Config.Registry is nil: register callbacks in a *reliable.Registry and pass it to New")
	}
	mistakes := errors.Join(p.cfg.Tables.Validate(), p.cfg.Registry.close(p.cfg.AllModels), p.watchAll(db), p.cfg.limits(), p.noSeals)
	if mistakes != nil {
		return fmt.Errorf("reliable: %w", mistakes)
	}
	p.wakes.others.open(db, p)
	return p.install(db)
}

// Close ends what the plugin does by itself: it waits, at most until ctx is
// done, until the workers of other processes were told of what this one
// committed. Before the first write, and where nobody is to be told, there is
// nothing to end. Writes are recorded after it, too; workers of other processes
// find them by their poll.
func (p *Plugin) Close(ctx context.Context) error { return p.wakes.close(ctx) }

// limits reports limits that make no sense.
func (c Config) limits() error {
	var errs []error
	if c.MaxRows < 0 {
		errs = append(errs, fmt.Errorf("Config.MaxRows is %d: want 1 or more, or 0 for %d", c.MaxRows, DefaultMaxRows))
	}
	if c.MaxEntryBytes < 0 {
		errs = append(errs, fmt.Errorf("Config.MaxEntryBytes is %d: want 1 or more, or 0 for %d", c.MaxEntryBytes, DefaultMaxEntryBytes))
	}
	if err := c.Breaker.validate(); err != nil {
		errs = append(errs, fmt.Errorf("Config: %w", err))
	}
	return errors.Join(errs...)
}
