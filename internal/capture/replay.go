package capture

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"reflect"
	"sync"
)

// replayer gives buffered rows as rows of database/sql: a *sql.Rows can only
// come from a driver. The zero value is ready for use, by many goroutines.
type replayer struct {
	once sync.Once
	conn *sql.Conn
	err  error
}

// replay returns t as rows of database/sql. Its driver's one connection outlives
// its pool, so that no goroutine stays, and none has to be started for each t.
func (r *replayer) replay(t *table) (*sql.Rows, error) {
	r.once.Do(func() {
		db := sql.OpenDB(tape{})
		r.conn, r.err = db.Conn(context.Background())
		_ = db.Close()
	})
	if r.err != nil {
		return nil, r.err
	}
	return r.conn.QueryContext(context.Background(), "", t) // nothing to wait for
}

// tape is a driver whose one connection answers a query with the table that is
// its argument.
type tape struct{}

var errReplay = errors.New("reliable: a replayed result takes no statements")

func (t tape) Connect(context.Context) (driver.Conn, error) { return t, nil }
func (t tape) Driver() driver.Driver                        { return t }
func (t tape) Open(string) (driver.Conn, error)             { return t, nil }
func (tape) Prepare(string) (driver.Stmt, error)            { return nil, errReplay }
func (tape) Begin() (driver.Tx, error)                      { return nil, errReplay }
func (tape) CheckNamedValue(*driver.NamedValue) error       { return nil }
func (tape) Close() error                                   { return nil }
func (tape) QueryContext(_ context.Context, _ string, args []driver.NamedValue) (driver.Rows, error) {
	return &replayed{table: args[0].Value.(*table)}, nil
}

// replayed are the rows of a table, and then the error that ended them.
type replayed struct {
	table *table
	next  int
}

func (r *replayed) Columns() []string { return r.table.columns }
func (r *replayed) Close() error      { return nil } // an error of a broken connection would end the one that all share

func (r *replayed) Next(dest []driver.Value) error {
	if r.next == len(r.table.rows) {
		if r.table.err != nil {
			return r.table.err
		}
		return io.EOF
	}
	for i, v := range r.table.rows[r.next] {
		dest[i] = v
	}
	r.next++
	return nil
}

// ColumnTypeDatabaseTypeName implements [driver.RowsColumnTypeDatabaseTypeName].
func (r *replayed) ColumnTypeDatabaseTypeName(i int) string { return r.table.types[i].name }

// ColumnTypeScanType implements [driver.RowsColumnTypeScanType].
func (r *replayed) ColumnTypeScanType(i int) reflect.Type {
	if t := r.table.types[i].scan; t != nil {
		return t
	}
	return reflect.TypeFor[any]()
}
