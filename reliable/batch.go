package reliable

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gorm.io/gorm"
)

// Batch runs what the entries of one claim owe. Its methods may be called from
// many goroutines.
type Batch struct {
	// Timeout bounds callbacks that have no Timeout of their own. Zero means
	// [DefaultTimeout]. Set it before the first Process.
	Timeout time.Duration

	// Finisher is the claim of the entries. Without it RunTx fails. Set it
	// before the first Process.
	Finisher TxFinisher

	// NoBreaker lets callbacks run however they fail. Set it before the first
	// Process.
	NoBreaker bool

	// KeyPolicy says what becomes of entries with a causality key that can't be
	// done. Empty means that they are like all others. Set it before the first
	// Process.
	KeyPolicy KeyPolicy

	// Around, if set, surrounds every attempt, outside of the registry's
	// middleware. Package reliabletest has it; a worker does not. Set it before
	// the first Process.
	Around Middleware

	// Clock, if set, is the database's time in place of the one that is
	// reckoned from the claim's: a test's, which moves when it is told. Set it
	// before the first Process.
	Clock func() time.Time

	plugin *Plugin
	db     *gorm.DB
	token  int64
	at     time.Time // the database's time of the claim ...
	start  time.Time // ... and this process's

	toldLocked atomic.Bool // that an entry waits for a key

	mu      sync.Mutex
	entries []*OutboxEntry
	models  map[string]*preload // by class; filled on first need
}

// NewBatch returns a Batch of entries that were claimed under token at the
// database's time at. Models are read through db, one query per model class.
// What the entries carry is decrypted, in place.
func (p *Plugin) NewBatch(db *gorm.DB, entries []*OutboxEntry, token int64, at time.Time) *Batch {
	for _, e := range entries {
		e.locked = p.Decrypt(e)
	}
	return &Batch{plugin: p, db: db, token: token, at: at, start: time.Now(), entries: entries}
}

// Process runs every callback that e owes and that is due, and reports what
// that came to once all of them have returned, also those that ignore their
// context. Errors and panics in them end in the outcome, and runtime.Goexit
// does too: then the calling goroutine ends, but not before report was called.
// If ctx is cancelled with a cause of [ErrShutdown] or [ErrLeaseLost],
// callbacks that fail because of it burn no attempt.
func (b *Batch) Process(ctx context.Context, e *OutboxEntry, report func(Outcome)) {
	r, _ := b.plugin.runs.Get().(*run)
	if r == nil {
		r = new(run)
	}
	r.batch, r.entry = b, e
	if ctx, unreadable := r.begin(ctx); unreadable {
		report(r.out)
	} else {
		r.work(ctx, report)
	}
	if !b.surrounded() { // what surrounds an attempt may keep what it was given
		*r = run{}
		b.plugin.runs.Put(r)
	}
}

// OwesTx reports whether one of e's callbacks is a RunTx: such an entry may be
// completed before anything that was run earlier is durable.
func (b *Batch) OwesTx(e *OutboxEntry) bool {
	return slices.ContainsFunc(b.plugin.units(e), func(u *unit) bool { return u.callback != nil && u.callback.tx })
}

// now is the database's time, reckoned from the claim by this process's
// monotonic clock.
func (b *Batch) now() time.Time {
	if b.Clock != nil {
		return b.Clock()
	}
	return b.at.Add(time.Since(b.start))
}

// surrounded reports whether attempts have something around them.
func (b *Batch) surrounded() bool {
	return b.Around != nil || len(b.plugin.cfg.Registry.middleware) > 0
}

func (b *Batch) timeout(own time.Duration) time.Duration {
	return cmp.Or(own, b.Timeout, DefaultTimeout)
}

// preload returns the models of a class, which it reads if that was not done
// or is too long ago.
func (b *Batch) preload(w *watch) *preload {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.models[w.class()]; p != nil {
		return p
	}
	p := &preload{watch: w, turn: make(chan struct{}, 1), entries: make([]*OutboxEntry, 0, len(b.entries))}
	var class string // the last one that was w's
	for _, e := range b.entries {
		if e.Context == ContextModel && (e.ResourceClass == class || b.plugin.watchOf(e.ResourceClass) == w) && b.plugin.planOf(e).reads {
			class = e.ResourceClass
			p.entries = append(p.entries, e)
		}
	}
	if b.models == nil {
		b.models = make(map[string]*preload)
	}
	b.models[w.class()] = p
	return p
}
