package reliable

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/gorm-aftercommit/aftercommit/internal/codec"
)

// freshFor is how long models read ahead are taken for the present row.
const freshFor = time.Second

// preload reads the models of one class for a batch, all in one query.
type preload struct {
	watch   *watch
	mu      sync.Mutex
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
	identity string        // of that key; see watch.identity
	taken    bool          // its run has begun; not read ahead again
}

// change returns what e's callbacks are told.
func (b *Batch) change(ctx context.Context, e *OutboxEntry) (*change, error) {
	w := b.plugin.watchOf(e.ResourceClass)
	p := b.preload(w)
	decoded, row, err := p.row(ctx, b.db, e)
	if err != nil {
		return nil, err
	}
	op := operationOf(e.EventName)
	return &change{
		schema: w.schema, watch: w, op: op, set: decoded.set, stored: e.Changeset, db: b.db,
		loaded: row, gone: !row.IsValid(),
	}, nil
}

// row returns an entry's changeset and its model as it is now, not valid if
// the row is gone.
func (p *preload) row(ctx context.Context, db *gorm.DB, e *OutboxEntry) (*work, reflect.Value, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	mine := p.watch.decode(ctx, e)
	mine.taken = true
	if mine.err != nil {
		return nil, reflect.Value{}, fmt.Errorf("entry %d: %w", e.ID, mine.err)
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

// wanted reports whether the row of an entry may still be there: one that a
// destroy deleted is not looked for.
func (k *work) wanted(e *OutboxEntry) bool {
	return operationOf(e.EventName) != OpDestroy || k.set.SoftDeleted
}

// read fetches the models of mine and of all entries whose run has not begun.
func (p *preload) read(ctx context.Context, db *gorm.DB, mine *work) {
	keys := append(make([]reflect.Value, 0, len(p.entries)), mine.key)
	seen := make(map[string]bool, len(p.entries))
	seen[mine.identity] = true
	for _, e := range p.entries {
		if k := p.watch.decode(ctx, e); k.err == nil && !k.taken && k.wanted(e) && !seen[k.identity] {
			seen[k.identity] = true
			keys = append(keys, k.key)
		}
	}
	p.readAt = time.Now()
	if p.find(ctx, db, keys); p.err != nil && len(keys) > 1 { // perhaps because of a row that is not mine
		p.find(ctx, db, keys[:1])
		p.readAt = time.Time{}
	}
}

// find reads the models with the keys.
func (p *preload) find(ctx context.Context, db *gorm.DB, keys []reflect.Value) {
	p.rows = make(map[string]reflect.Value, len(keys))
	slice := reflect.New(reflect.SliceOf(reflect.PointerTo(p.watch.typ)))
	query := db.Session(&gorm.Session{NewDB: true, Context: ctx}).Unscoped().Clauses(writer{}, p.watch.keysIn(ctx, keys))
	if p.watch.load != nil {
		query = p.watch.load(query)
	}
	if p.err = query.Find(slice.Interface()).Error; p.err != nil {
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
	if k.set, k.err = codec.DecodeHead(e.Changeset); k.err != nil {
		k.err = fmt.Errorf("column changeset: %w", k.err)
		return k
	}
	k.key = reflect.New(w.typ)
	for _, field := range w.schema.PrimaryFields {
		value, ok := k.set.Key.Get(field.DBName)
		if !ok {
			k.err = fmt.Errorf("column changeset: key has no %s", field.DBName)
			return k
		}
		if k.err = w.setKey(ctx, k.key, field, value); k.err != nil {
			return k
		}
	}
	k.identity, k.err = w.identity(ctx, k.key)
	return k
}

// writer is a clause that sends a query to the source of a resolver
// (gorm.io/plugin/dbresolver), never to a replica that may be behind.
type writer struct{}

func (writer) ModifyStatement(stmt *gorm.Statement) {
	stmt.Clauses["gorm:db_resolver:write"] = clause.Clause{}
}
func (writer) Build(clause.Builder) {}
