package reliable

import (
	"context"
	"time"

	"gorm.io/gorm"
)

// Callback is work owed once a write to a T has committed. Name and one of Run
// and RunTx are required; the zero value of every other field is its usual
// setting.
type Callback[T any] struct {
	// Name identifies the callback in entries, events and errors. It is unique
	// per T and stable across releases: entries on their way carry it.
	Name string

	// Aliases are former names. Entries that owe one of them owe this callback.
	Aliases []string

	// On selects the writes that owe the callback. Zero selects all of them.
	On Operation

	// WhenChanged narrows updates: one owes the callback only if at least one
	// of these fields or columns changed. It is checked by db.Use and applied
	// when the change is captured. Creates and destroys are not narrowed.
	WhenChanged []string

	// If and Unless are asked in the worker just before Run or RunTx, about
	// the same change; the callback runs if If (when set) says true and Unless
	// (when set) says false. A panic in one of them is a failed attempt.
	If, Unless func(Change[T]) bool

	// Run does the work. It may run again for the same write, so it must be
	// idempotent: [Change.IdempotencyKey] is the same each time. An error or a
	// panic puts the callback back for a later attempt; see [Permanent],
	// [Snooze] and [Discard] for other outcomes. Its context ends after
	// Timeout, when the worker drains, and when the worker lost its lease.
	Run func(context.Context, Change[T]) error

	// RunTx, in place of Run, does work inside the database, exactly once: what
	// it writes through tx and the note that it is done commit together, or not
	// at all. With an error (also Snooze and Discard), a panic or a lost lease
	// all of it is rolled back. tx is a READ COMMITTED transaction on a
	// connection of the application's pool, and is Change.DB too. RunTx must
	// not end it, and should do nothing else that lasts or waits: its locks
	// are held until it returns, and on SQLite nobody else can write.
	RunTx func(ctx context.Context, tx *gorm.DB, c Change[T]) error

	// Timeout bounds one run. Zero means the worker's setting, by default
	// [DefaultTimeout]. For RunTx it is at most [MaxTxTimeout], which is the
	// usual too.
	Timeout time.Duration

	// MaxAttempts is how often the callback may fail before it is dead. Zero
	// means [DefaultMaxAttempts], or [DefaultOrderedMaxAttempts] under [KeyPark].
	MaxAttempts int

	// Backoff says how long to wait after a failure. Nil means
	// Exponential(DefaultBackoffBase, DefaultBackoffCap).
	Backoff Backoff

	// Breaker says when the callback rests because it fails too often. Nil
	// means Config.Breaker.
	Breaker *Breaker

	// WhenGone says what to do when an update's row no longer exists.
	WhenGone WhenGone

	// NoModel says that Run, If and Unless do without the row as it is now. If
	// that is so for all callbacks that an entry owes, no row is read for it:
	// Change.Model has only the primary key set, Gone is false unless the change
	// deleted the row, and in the images of an update the columns that it did not
	// change are zero.
	NoModel bool
}

// WhenGone says what becomes of an update's callback whose row is gone when it
// is replayed. Creates and destroys carry their image and run regardless.
type WhenGone uint8

// What to do with an update whose row is gone.
const (
	GoneDiscard WhenGone = iota // give it up, with EntryDiscarded
	GoneRun                     // run it; Change.Model holds the key and the changed columns
	GoneRetry                   // count a failed attempt
)

// AfterCommit registers c on T: once a write that c.On selects has committed,
// a worker runs it, at least once. Mistakes are collected and reported by
// db.Use, all at once. It panics if r is already in use.
func AfterCommit[T any](r *Registry, c Callback[T]) {
	r.add(modelOf[T](), erase(c))
}

// AfterCreateCommit registers run as the callback name of creates of T.
func AfterCreateCommit[T any](r *Registry, name string, run func(context.Context, Change[T]) error) {
	AfterCommit(r, Callback[T]{Name: name, On: OpCreate, Run: run})
}

// AfterUpdateCommit registers run as the callback name of updates of T.
func AfterUpdateCommit[T any](r *Registry, name string, run func(context.Context, Change[T]) error) {
	AfterCommit(r, Callback[T]{Name: name, On: OpUpdate, Run: run})
}

// AfterDestroyCommit registers run as the callback name of deletes and soft
// deletes of T.
func AfterDestroyCommit[T any](r *Registry, name string, run func(context.Context, Change[T]) error) {
	AfterCommit(r, Callback[T]{Name: name, On: OpDestroy, Run: run})
}

// AfterSaveCommit registers run as the callback name of creates and updates of T.
func AfterSaveCommit[T any](r *Registry, name string, run func(context.Context, Change[T]) error) {
	AfterCommit(r, Callback[T]{Name: name, On: OpSave, Run: run})
}

// Method turns a method of a model, for example (*Order).Notify, into the
// shape of [Callback.Run]. The method is called on Change.Model.
func Method[T any](method func(*T, context.Context, Change[T]) error) func(context.Context, Change[T]) error {
	if method == nil {
		return nil
	}
	return func(ctx context.Context, c Change[T]) error { return method(c.Model, ctx, c) }
}

// callback is a Callback without its type parameter.
type callback struct {
	name        string
	aliases     []string
	on          Operation
	whenChanged []string
	timeout     time.Duration
	maxAttempts int
	backoff     Backoff
	breaker     *Breaker
	whenGone    WhenGone
	runs        int  // how many of Run and RunTx are set
	tx          bool // RunTx is
	noModel     bool

	// run asks If and Unless, then calls Run, or RunTx in a transaction that
	// transact makes. It reports errNotDue when one of them declined.
	run func(ctx context.Context, core *change, a Attempt, transact transact) error
}

// transact calls a function in a transaction that commits with the entry's
// new state.
type transact func(ctx context.Context, fn func(tx *gorm.DB) error) error

// erase turns c into a callback; the closure restores the type.
func erase[T any](c Callback[T]) *callback {
	runs := 0
	if c.Run != nil {
		runs++
	}
	if c.RunTx != nil {
		runs++
	}
	return &callback{
		name:        c.Name,
		aliases:     c.Aliases,
		on:          c.On.orAll(),
		whenChanged: c.WhenChanged,
		timeout:     c.Timeout,
		maxAttempts: c.MaxAttempts,
		backoff:     c.Backoff,
		breaker:     c.Breaker,
		whenGone:    c.WhenGone,
		noModel:     c.NoModel,
		runs:        runs,
		tx:          c.RunTx != nil,
		run: func(ctx context.Context, core *change, a Attempt, transact transact) error {
			typed := typedChange[T](ctx, core, a)
			if c.If != nil && !c.If(typed) || c.Unless != nil && c.Unless(typed) {
				return errNotDue
			}
			if c.RunTx == nil {
				return c.Run(ctx, typed)
			}
			return transact(ctx, func(tx *gorm.DB) error {
				typed.db = func() *gorm.DB { return tx }
				return c.RunTx(ctx, tx, typed)
			})
		},
	}
}
