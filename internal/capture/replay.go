package capture

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"reflect"
)

// replay returns t as rows of database/sql: a *sql.Rows can only come from a
// driver. Closing the rows frees all that they hold.
func (t *table) replay() (*sql.Rows, error) {
	db := sql.OpenDB(&replayer{t})
	rows, err := db.QueryContext(context.Background(), "") // nothing to wait for
	_ = db.Close()                                         // the rows keep their connection until they are closed
	return rows, err
}

// replayer is a database with one connection and one result.
type replayer struct{ table *table }

var errReplay = errors.New("reliable: a replayed result takes no statements")

func (r *replayer) Connect(context.Context) (driver.Conn, error) { return r, nil }
func (r *replayer) Driver() driver.Driver                        { return r }
func (r *replayer) Open(string) (driver.Conn, error)             { return r, nil }
func (r *replayer) Prepare(string) (driver.Stmt, error)          { return nil, errReplay }
func (r *replayer) Begin() (driver.Tx, error)                    { return nil, errReplay }
func (r *replayer) CheckNamedValue(*driver.NamedValue) error     { return nil }
func (r *replayer) Close() error                                 { return nil }
func (r *replayer) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	return &replayed{table: r.table}, nil
}

// replayed are the rows of a table, and then the error that ended them.
type replayed struct {
	table *table
	next  int
}

func (r *replayed) Columns() []string { return r.table.columns }
func (r *replayed) Close() error      { return nil }

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
