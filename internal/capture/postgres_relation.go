package capture

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// relation is what capture must know of a table, or a view, before it can
// rewrite a statement. It is asked for once per table and pool.
type relation struct {
	version int      // of the server
	rowType string   // the name of the table's row type; "" if the table was not found
	granted []string // the columns that the role may read; nil is all
}

type relationKey struct {
	pool  *sql.DB
	table string
}

// modern reports whether RETURNING knows OLD and NEW.
func (r *relation) modern() bool { return r.version >= 180000 }

// columns writes the columns of a table or its alias, as far as they may be
// read. An asterisk would not do where the role has grants on columns alone;
// where it does, new columns are captured at once.
func (r *relation) columns(w *gorm.Statement, table string) {
	if r.granted == nil {
		w.WriteQuoted(clause.Table{Name: table})
		put(w, ".*")
		return
	}
	for i, name := range r.granted {
		if i > 0 {
			put(w, ",")
		}
		w.WriteQuoted(clause.Column{Table: table, Name: name})
	}
}

// relation returns what is known of the table that the statement writes to.
func (d *postgres) relation(ctx context.Context, s *statement) (*relation, error) {
	key, err := d.key(s)
	if err != nil {
		return nil, err
	}
	if r, ok := d.relations.Load(key); ok {
		return r.(*relation), nil
	}
	r := new(relation)
	var rowType, granted sql.NullString
	err = s.tx.raw.QueryRowContext(ctx, `SELECT current_setting('server_version_num')::int,
		(SELECT reltype::regtype::text FROM pg_class WHERE oid = t.oid),
		CASE WHEN has_table_privilege(t.oid, 'SELECT') THEN NULL ELSE (SELECT json_agg(attname ORDER BY attnum)::text FROM pg_attribute
			WHERE attrelid = t.oid AND attnum > 0 AND NOT attisdropped AND has_column_privilege(attrelid, attnum, 'SELECT')) END
		FROM (SELECT to_regclass($1)::oid AS oid) AS t`, key.table).Scan(&r.version, &rowType, &granted)
	if err == nil && granted.Valid {
		err = json.Unmarshal([]byte(granted.String), &r.granted)
	}
	if err != nil {
		return nil, fmt.Errorf("reliable: %s %s: ask for the table's columns: %w", s.op, model(s.db), err)
	}
	r.rowType = rowType.String
	d.relations.Store(key, r)
	return r, nil
}

// key names the statement's table. All pools that can't be named are taken for
// one.
func (d *postgres) key(s *statement) (relationKey, error) {
	target, err := s.build(s.target)
	if err != nil {
		return relationKey{}, err
	}
	tx := &gorm.DB{Config: s.db.Config, Statement: &gorm.Statement{ConnPool: s.tx.raw}}
	pool, _ := tx.DB()
	return relationKey{pool, withoutAlias(target.sql)}, nil
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
				d.relations.Delete(key)
			}
		}
	}
	return t, err
}
