package reliable

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"

	"github.com/gorm-aftercommit/aftercommit/internal/capture"
)

// watch is a model as one database sees it.
type watch struct {
	*model
	schema    *schema.Schema
	narrow    map[*callback][]string // columns of WhenChanged
	out       map[string]bool        // columns that are not recorded
	sensitive map[string]bool        // columns that are masked
	mistakes  error                  // of an unregistered model's tags
	bytes     bool                   // the driver delivers text as []byte; capture makes it a string
	all       bool                   // Config.AllModels: every write is recorded
}

// recorded returns the writes that are recorded even if no callback is owed.
func (w *watch) recorded() Operation {
	if w.all {
		return opAll
	}
	return w.model.recorded()
}

// captured returns the writes that may be recorded.
func (w *watch) captured() Operation { return w.recorded() | w.model.captured() }

// watch returns the watch of a statement's model: nil if it is not recorded.
func (p *Plugin) watch(stmt *gorm.Statement) *watch {
	if stmt.Schema == nil {
		return nil
	}
	if w := p.watches[stmt.Schema.ModelType]; w != nil {
		return w
	}
	if !p.cfg.AllModels || p.cfg.Registry.ignored[stmt.Schema.ModelType] || p.owns(stmt.Schema.Table) {
		return nil
	}
	if known, ok := p.others.Load(stmt.Schema); ok {
		return known.(*watch)
	}
	class := stmt.Schema.Name
	if class == "" || p.cfg.Registry.classes[class] != nil {
		class = stmt.Schema.Table
	}
	w := &watch{model: &model{typ: stmt.Schema.ModelType, settings: settings{name: class}}, schema: stmt.Schema, bytes: textIsBytes(stmt.DB), all: true}
	w.mistakes = w.filter()
	known, _ := p.others.LoadOrStore(stmt.Schema, w)
	return known.(*watch)
}

// textIsBytes reports whether db's driver delivers text as []byte.
func textIsBytes(db *gorm.DB) bool { return db.Name() == "mysql" }

// owns reports whether a table is one of the outbox's.
func (p *Plugin) owns(table string) bool {
	t := p.cfg.Tables
	return slices.Contains([]string{
		t.Entries(), t.Claims(), t.Workers(), t.History(), t.Lanes(), t.ParkedKeys(), t.Pauses(), t.KeyLocks(), t.Duties(), t.Migrations(),
	}, table)
}

// watchAll parses the schema of every registered model.
func (p *Plugin) watchAll(db *gorm.DB) error {
	p.watches = make(map[reflect.Type]*watch)
	var errs []error
	for _, m := range p.cfg.Registry.order {
		w, err := p.newWatch(db, m)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		p.watches[m.typ] = w
	}
	return errors.Join(errs...)
}

func (p *Plugin) newWatch(db *gorm.DB, m *model) (*watch, error) {
	if m.typ.Kind() != reflect.Struct {
		return nil, nil // Registry.close says so
	}
	stmt := &gorm.Statement{DB: db}
	if err := stmt.Parse(reflect.New(m.typ).Interface()); err != nil {
		return nil, fmt.Errorf("%s: %w", m.typ, err)
	}
	w := &watch{model: m, schema: stmt.Schema, narrow: make(map[*callback][]string), bytes: textIsBytes(db), all: p.cfg.AllModels}
	errs := []error{w.filter()}
	if len(w.schema.PrimaryFields) == 0 {
		errs = append(errs, fmt.Errorf("%s: no primary key: entries could not name the row; tag a field with gorm:\"primaryKey\"", m.typ))
	}
	for _, c := range m.callbacks {
		for _, name := range c.whenChanged {
			field, err := lookUpField(w.schema, name)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: callback %q: WhenChanged: %w", m.typ, c.name, err))
				continue
			}
			w.narrow[c] = append(w.narrow[c], field.DBName)
		}
	}
	return w, errors.Join(errs...)
}

// install puts the capture around db's write callbacks, and a look at raw SQL
// around those that send it.
func (p *Plugin) install(db *gorm.DB) error {
	const name = "reliable:raw"
	return errors.Join(
		capture.Install(db, recorder{p}, capture.Options{RequireTransaction: p.cfg.RequireTransaction, MaxRows: p.cfg.MaxRows}),
		db.Callback().Raw().Before("gorm:raw").Register(name, p.raw),
		db.Callback().Raw().After("gorm:raw").Register(name+"_sent", p.rawSent),
		db.Callback().Row().Before("gorm:row").Register(name, p.raw),
		db.Callback().Query().Before("gorm:query").Register(name, p.raw),
	)
}
