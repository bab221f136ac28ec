package capture

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// relation is what capture must know of a table, or a view, before it rewrites
// a statement: which of the model's columns it has, and may read. They are
// listed, since an asterisk fails where the role has grants on columns alone,
// and since each connection's prepared statement would fail once after a column
// was added.
type relation struct {
	version int      // of the server
	columns []string // of the model
	types   []string // theirs
}

// modern reports whether RETURNING knows OLD and NEW.
func (r *relation) modern() bool { return r.version >= 180000 }

// catalog is what the server told of a table.
type catalog struct {
	version int
	columns map[string]attribute
}

type attribute struct {
	Type     string
	Readable bool
}

// catalogKey names a table. The table itself, and not the model, since a
// statement may name another.
type catalogKey struct {
	pool  *sql.DB
	table string
}

// relation returns what is known of the table that the statement writes to. The
// server is asked once per table and pool, and again if the statement assigns
// a column that was not there.
func (d *postgres) relation(ctx context.Context, s *statement) (*relation, error) {
	key, err := d.key(s)
	if err != nil {
		return nil, err
	}
	known, ok := d.catalogs.Load(key)
	if !ok || !known.(*catalog).covers(s) {
		if known, err = d.ask(ctx, s, key); err != nil {
			return nil, err
		}
	}
	c := known.(*catalog)
	r := &relation{version: c.version}
	for _, name := range s.db.Statement.Schema.DBNames {
		if a := c.columns[name]; a.Readable {
			r.columns, r.types = append(r.columns, name), append(r.types, a.Type)
		}
	}
	for _, name := range s.primary() {
		if a, ok := c.columns[name]; ok && !a.Readable {
			return nil, s.refuse("the role may not read the primary key: GRANT SELECT on " + name)
		}
	}
	if len(r.columns) == 0 { // there is no such table: let the server say so
		r.columns = s.db.Statement.Schema.DBNames
		r.types = slices.Repeat([]string{"text"}, len(r.columns))
	}
	return r, nil
}

// covers reports whether the columns that the statement assigns are known.
func (c *catalog) covers(s *statement) bool {
	unknown := func(column clause.Column) bool {
		_, ok := c.columns[column.Name]
		return !ok && s.db.Statement.Schema.FieldsByDBName[column.Name] != nil
	}
	set, _ := s.db.Statement.Clauses["SET"].Expression.(clause.Set)
	return !slices.ContainsFunc(s.values().Columns, unknown) &&
		!slices.ContainsFunc(set, func(a clause.Assignment) bool { return unknown(a.Column) })
}

// ask asks the server. What it says is kept if it knows the table.
func (d *postgres) ask(ctx context.Context, s *statement, key catalogKey) (*catalog, error) {
	c := new(catalog)
	var columns string
	err := s.tx.raw.QueryRowContext(ctx, `SELECT current_setting('server_version_num')::int,
		coalesce(json_object_agg(attname, json_build_object('Type', format_type(atttypid, atttypmod), 'Readable', has_column_privilege(attrelid, attnum, 'SELECT'))), '{}')::text
		FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped`, key.table).Scan(&c.version, &columns)
	if err != nil { // of an aborted transaction, a lost connection: the writer's statement would meet it
		return nil, err
	}
	if err = json.Unmarshal([]byte(columns), &c.columns); err != nil {
		return nil, fmt.Errorf("reliable: %s %s: ask for the table's columns: %w", s.op, model(s.db), err)
	}
	if len(c.columns) > 0 {
		d.catalogs.Store(key, c)
	}
	return c, nil
}

// key names the statement's table. All pools that can't be named are taken for
// one.
func (d *postgres) key(s *statement) (catalogKey, error) {
	target, err := s.build(s.target)
	if err != nil {
		return catalogKey{}, err
	}
	tx := &gorm.DB{Config: s.db.Config, Statement: &gorm.Statement{ConnPool: s.tx.raw}}
	pool, _ := tx.DB()
	return catalogKey{pool, withoutAlias(target.sql)}, nil
}

// withoutAlias cuts a table's name off at the first space that is not quoted.
func withoutAlias(table string) string {
	quoted := false
	end := strings.IndexFunc(table, func(c rune) bool {
		if c == '"' {
			quoted = !quoted
		}
		return c == ' ' && !quoted
	})
	if end < 0 {
		return table
	}
	return table[:end]
}

// execute runs the rewritten statement. If it turns out that what was known of
// the table is no longer so (a column was dropped, a grant revoked), the next
// statement asks again.
func (d *postgres) execute(ctx context.Context, s *statement, q query) (*table, error) {
	t, err := s.execute(ctx, q)
	var failure interface{ SQLState() string }
	if errors.As(err, &failure) {
		switch failure.SQLState() {
		case "42501", "42703", "42704": // insufficient_privilege, undefined_column, undefined_object
			if key, err := d.key(s); err == nil {
				d.catalogs.Delete(key)
			}
		}
	}
	return t, err
}
