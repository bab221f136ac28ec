package reliable

import (
	"context"
	"database/sql/driver"
	"fmt"
	"reflect"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/gorm-aftercommit/aftercommit/internal/codec"
)

// freshFor is how long models read ahead are taken for the present row.
const freshFor = time.Second

// readTimeout bounds a read of models: a connection that broke without a word
// costs that, not all the time that callbacks may take.
const readTimeout = 10 * time.Second

// preload reads the models of one class for a batch, all in one query.
type preload struct {
	watch   *watch
	turn    chan struct{} // holds a value while somebody reads or looks; guards what follows
	entries []*OutboxEntry
	readAt  time.Time
	rows    map[string]reflect.Value // *T by identity
	err     error
}

// work is what a batch decoded of an entry.
type work struct {
	set      codec.Changeset // without its columns
	err      error
	key      reflect.Value // *T with the primary key set
	identity string        // of that key, once asked for; see watch.identity
	taken    bool          // its run has begun; not read ahead again
}

// change returns what e's callbacks are told.
func (b *Batch) change(ctx context.Context, e *OutboxEntry) (*change, error) {
	if b.plugin.planOf(e).reads {
		return b.changeWithModel(ctx, e)
	}
	w := b.plugin.watchOf(e.ResourceClass)
	var k work
	w.read(ctx, e, &k)
	c := b.newChange(w, e)
	c.set, c.key, c.gone = k.set, k.key, !k.wanted(e)
	return c, k.of(e)
}

// changeWithModel is change with the row as it is now.
func (b *Batch) changeWithModel(ctx context.Context, e *OutboxEntry) (*change, error) {
	w := b.plugin.watchOf(e.ResourceClass)
	decoded, row, err := b.preload(w).row(ctx, b.db, e)
	if err != nil {
		return nil, err
	}
	c := b.newChange(w, e)
	c.set, c.loaded, c.gone = decoded.set, row, !row.IsValid()
	return c, nil
}

func (b *Batch) newChange(w *watch, e *OutboxEntry) *change {
	return &change{schema: w.schema, watch: w, op: operationOf(e.EventName), stored: e.Changeset, db: b.db}
}

// Prepare reads the models that the batch's callbacks are going to be given, so
// that they need not wait for it. It returns when that is done, or when ctx is.
func (b *Batch) Prepare(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, b.timeout(0))
	defer cancel()
	var last *watch
	for _, e := range b.entries {
		if e.Context != ContextModel || last != nil && last.class() == e.ResourceClass {
			continue
		}
		if w := b.plugin.watchOf(e.ResourceClass); w != nil && w != last && b.plugin.planOf(e).reads {
			last = w
			b.preload(w).ahead(ctx, b.db)
		}
	}
}

// ahead reads the rows of all entries, unless that was done.
func (p *preload) ahead(ctx context.Context, db *gorm.DB) {
	if p.lock(ctx) != nil {
		return
	}
	defer p.unlock()
	if p.readAt.IsZero() {
		p.read(ctx, db, nil)
	}
}

// row returns an entry's changeset and its model as it is now, not valid if
// the row is gone.
func (p *preload) row(ctx context.Context, db *gorm.DB, e *OutboxEntry) (*work, reflect.Value, error) {
	if err := p.lock(ctx); err != nil {
		return nil, reflect.Value{}, fmt.Errorf("read %s %s: %w", e.ResourceClass, e.ResourceID, err)
	}
	defer p.unlock()
	mine := p.watch.identify(ctx, e)
	mine.taken = true
	if err := mine.of(e); err != nil {
		return nil, reflect.Value{}, err
	}
	if !mine.wanted(e) {
		return mine, reflect.Value{}, nil
	}
	if p.readAt.IsZero() || p.err != nil || time.Since(p.readAt) > freshFor {
		p.read(ctx, db, mine)
	}
	if p.err != nil {
		return nil, reflect.Value{}, fmt.Errorf("read %s %s: %w", e.ResourceClass, e.ResourceID, p.err)
	}
	return mine, p.rows[mine.identity], nil
}

// lock waits for its turn, for as long as a callback may: others read while the
// database does not answer.
func (p *preload) lock(ctx context.Context) error {
	select {
	case p.turn <- struct{}{}:
		return nil
	default:
	}
	select {
	case p.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *preload) unlock() { <-p.turn }

// of returns what was wrong with the entry's changeset.
func (k *work) of(e *OutboxEntry) error {
	if k.err == nil {
		return nil
	}
	return fmt.Errorf("entry %d: %w", e.ID, k.err)
}

// wanted reports whether the row of an entry may still be there: one that a
// destroy deleted is not looked for.
func (k *work) wanted(e *OutboxEntry) bool {
	return operationOf(e.EventName) != OpDestroy || k.set.SoftDeleted
}

// read fetches the models of mine, if there is one, and of all entries whose
// run has not begun.
func (p *preload) read(ctx context.Context, db *gorm.DB, mine *work) {
	keys := make([]reflect.Value, 0, 1+len(p.entries))
	seen := make(map[string]bool, len(p.entries))
	if mine != nil {
		keys = append(keys, mine.key)
		seen[mine.identity] = true
	}
	for _, e := range p.entries {
		if k := p.watch.identify(ctx, e); k.err == nil && !k.taken && k.wanted(e) && !seen[k.identity] {
			seen[k.identity] = true
			keys = append(keys, k.key)
		}
	}
	p.readAt = time.Now()
	if len(keys) == 0 {
		return
	}
	if p.find(ctx, db, keys); p.err != nil && len(keys) > 1 && mine != nil { // perhaps because of a row that is not mine
		p.find(ctx, db, keys[:1])
		p.readAt = time.Time{}
	}
}

// find reads the models with the keys.
func (p *preload) find(ctx context.Context, db *gorm.DB, keys []reflect.Value) {
	p.rows = make(map[string]reflect.Value, len(keys))
	slice := reflect.New(reflect.SliceOf(reflect.PointerTo(p.watch.typ)))
	bounded, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	query := db.Session(&gorm.Session{NewDB: true, Context: bounded}).Unscoped().Clauses(writer{}, p.watch.keysIn(ctx, keys))
	if p.watch.load != nil {
		query = p.watch.load(query)
	}
	if p.err = query.Find(slice.Interface()).Error; p.err != nil {
		if bounded.Err() != nil && ctx.Err() == nil { // not the callback's time was over
			p.err = fmt.Errorf("no answer within %s: %w", readTimeout, driver.ErrBadConn)
		}
		return
	}
	for i := range slice.Elem().Len() {
		row := slice.Elem().Index(i)
		id, err := p.watch.identity(ctx, row)
		if err != nil {
			p.err = err
			return
		}
		p.rows[id] = row
	}
}

// decode reads an entry's changeset, once.
func (w *watch) decode(ctx context.Context, e *OutboxEntry) *work {
	if k, ok := e.work.(*work); ok {
		return k
	}
	k := new(work)
	e.work = k
	w.read(ctx, e, k)
	return k
}

// read fills k from an entry's changeset.
func (w *watch) read(ctx context.Context, e *OutboxEntry, k *work) {
	if k.set, k.err = codec.DecodeHead(e.Changeset); k.err != nil {
		k.err = fmt.Errorf("column changeset: %w", k.err)
		return
	}
	k.key = reflect.New(w.typ)
	for _, field := range w.schema.PrimaryFields {
		value, ok := k.set.Key.Get(field.DBName)
		if !ok {
			k.err = fmt.Errorf("column changeset: key has no %s", field.DBName)
			return
		}
		if k.err = w.setKey(ctx, k.key, field, value); k.err != nil {
			return
		}
	}
}

// identify is decode, with the identity.
func (w *watch) identify(ctx context.Context, e *OutboxEntry) *work {
	k := w.decode(ctx, e)
	if k.err == nil && k.identity == "" {
		k.identity, k.err = w.identity(ctx, k.key)
	}
	return k
}

// writer is a clause that sends a query to the source of a resolver
// (gorm.io/plugin/dbresolver), never to a replica that may be behind.
type writer struct{}

func (writer) ModifyStatement(stmt *gorm.Statement) {
	stmt.Clauses["gorm:db_resolver:write"] = clause.Clause{}
}
func (writer) Build(clause.Builder) {}
