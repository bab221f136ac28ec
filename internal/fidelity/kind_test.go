package fidelity_test

import (
	"fmt"
	"os"
	"testing"

	"gorm.io/gorm/schema"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// types are the column's type in each database; empty: it has no such kind.
type types struct{ postgres, mariadb, sqlite string }

func (c types) of(d testdb.Dialect) string {
	switch d {
	case testdb.Postgres:
		return c.postgres
	case testdb.MySQL:
		return c.mariadb
	default:
		return c.sqlite
	}
}

// kind is a kind of field, and values of it.
type kind struct {
	name  string
	types types
	run   func(t *testing.T, base testdb.DB, prefix, column string)
}

// of is the kind of a T, in rows of Cell.
func of[T any](name string, columns types, values ...T) kind {
	rows := make([]Cell[T], len(values))
	for i, v := range values {
		rows[i].V = v
	}
	return in(name, columns, rows...)
}

// in is a kind whose rows are of M, with the columns id and v.
func in[M any](name string, columns types, rows ...M) kind {
	return kind{name, columns, func(t *testing.T, base testdb.DB, prefix, column string) {
		l := newLab[M](t, base, prefix)
		id := map[testdb.Dialect]string{
			testdb.Postgres: "bigserial PRIMARY KEY", testdb.MySQL: "bigint AUTO_INCREMENT PRIMARY KEY", testdb.SQLite: "integer PRIMARY KEY AUTOINCREMENT",
		}[base.Dialect]
		if err := l.db.Exec(fmt.Sprintf("CREATE TABLE %scells (id %s, v %s)", prefix, id, column)).Error; err != nil {
			t.Fatal(err)
		}
		l.roundTrip(t, rows)
	}}
}

func TestMain(m *testing.M) {
	schema.RegisterSerializer("reverse", Reverse{})
	os.Exit(m.Run())
}

// Every kind of value comes back (70).
func TestKinds(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		base := migrated(t, d)
		n := 0
		for i, k := range kinds() {
			if column := k.types.of(d); column != "" {
				n++
				t.Run(k.name, func(t *testing.T) { k.run(t, base, fmt.Sprintf("k%d_", i), column) })
			}
		}
		if n < 34 {
			t.Errorf("%d kinds, want at least 34", n)
		}
	})
}
