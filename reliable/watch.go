package reliable

import (
	"errors"
	"fmt"
	"reflect"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"

	"github.com/gorm-aftercommit/aftercommit/internal/capture"
)

// watch is a model as one database sees it.
type watch struct {
	*model
	schema *schema.Schema
	narrow map[*callback][]string // columns of WhenChanged
}

// watchAll parses the schema of every registered model.
func watchAll(db *gorm.DB, r *Registry) (map[reflect.Type]*watch, error) {
	watches := make(map[reflect.Type]*watch)
	var errs []error
	for _, m := range r.order {
		w, err := newWatch(db, m)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		watches[m.typ] = w
	}
	return watches, errors.Join(errs...)
}

func newWatch(db *gorm.DB, m *model) (*watch, error) {
	if m.typ.Kind() != reflect.Struct {
		return nil, nil // Registry.close says so
	}
	stmt := &gorm.Statement{DB: db}
	if err := stmt.Parse(reflect.New(m.typ).Interface()); err != nil {
		return nil, fmt.Errorf("%s: %w", m.typ, err)
	}
	w := &watch{model: m, schema: stmt.Schema, narrow: make(map[*callback][]string)}
	var errs []error
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

// install puts the capture around db's write callbacks.
func (p *Plugin) install(db *gorm.DB) error {
	return capture.Install(db, recorder{p}, capture.Options{RequireTransaction: p.cfg.RequireTransaction, MaxRows: p.cfg.MaxRows})
}
