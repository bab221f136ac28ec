package capture

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// table is the buffered result of a query.
type table struct {
	columns []string
	rows    [][]any
}

// slice returns the columns from lo to hi.
func (t table) slice(lo, hi int) table {
	part := table{columns: t.columns[lo:hi], rows: make([][]any, len(t.rows))}
	for i, row := range t.rows {
		part.rows[i] = row[lo:hi]
	}
	return part
}

// index returns the position of a column, -1 if there is none.
func (t table) index(column string) int {
	for i, name := range t.columns {
		if name == column {
			return i
		}
	}
	return -1
}

// readAll buffers and closes rows. The values are the driver's own.
func readAll(rows *sql.Rows) (t table, err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	if t.columns, err = rows.Columns(); err != nil {
		return t, err
	}
	types, err := rows.ColumnTypes()
	if err != nil {
		return t, err
	}
	for rows.Next() {
		row := make([]any, len(t.columns))
		targets := make([]any, len(row))
		for i := range row {
			targets[i] = &row[i]
		}
		if err := rows.Scan(targets...); err != nil {
			return t, err
		}
		for i := range row {
			if data, ok := row[i].([]byte); ok {
				row[i] = normalize(data, types[i].DatabaseTypeName())
			}
		}
		t.rows = append(t.rows, row)
	}
	return t, rows.Err()
}

// normalize gives a value of the MySQL driver the type of its column, so that
// its text and its binary protocol deliver the same.
func normalize(data []byte, column string) any {
	column = strings.TrimPrefix(column, "UNSIGNED ")
	switch column {
	case "VARCHAR", "CHAR", "TEXT", "TINYTEXT", "MEDIUMTEXT", "LONGTEXT", "ENUM", "SET", "DECIMAL", "TIME", "INET4", "INET6", "UUID":
		return string(data)
	case "TINYINT", "SMALLINT", "MEDIUMINT", "INT", "BIGINT", "YEAR":
		if n, err := strconv.ParseInt(string(data), 10, 64); err == nil {
			return n
		}
		if n, err := strconv.ParseUint(string(data), 10, 64); err == nil {
			return n
		}
	}
	return data
}

// identity returns the values of a row's key columns as one comparable text.
func (t table) identity(row []any, key []int) string {
	var b strings.Builder
	for _, i := range key {
		switch v := row[i].(type) {
		case []byte:
			fmt.Fprintf(&b, "%q,", string(v))
		case string:
			fmt.Fprintf(&b, "%q,", v)
		case time.Time:
			fmt.Fprintf(&b, "%d,", v.UnixNano())
		default:
			fmt.Fprintf(&b, "%v,", v)
		}
	}
	return b.String()
}

// result is what an Exec of GORM's gets.
type result struct{ lastInsertID, rowsAffected int64 }

// LastInsertId implements [sql.Result].
func (r result) LastInsertId() (int64, error) { return r.lastInsertID, nil }

// RowsAffected implements [sql.Result].
func (r result) RowsAffected() (int64, error) { return r.rowsAffected, nil }

// replay returns t as *sql.Rows. The caller closes db after the rows.
func replay(ctx context.Context, t table) (db *sql.DB, rows *sql.Rows, err error) {
	db = sql.OpenDB(tape{t})
	rows, err = db.QueryContext(ctx, "")
	if err != nil {
		_ = db.Close()
		return nil, nil, err
	}
	return db, rows, nil
}

// tape is a database that answers every query with one buffered table.
type tape struct{ table table }

// Connect implements [driver.Connector].
func (t tape) Connect(context.Context) (driver.Conn, error) { return tapeConn(t), nil }

// Driver implements [driver.Connector].
func (t tape) Driver() driver.Driver { return nil }

type tapeConn struct{ table table }

func (c tapeConn) Prepare(string) (driver.Stmt, error) { return nil, driver.ErrSkip }
func (c tapeConn) Close() error                        { return nil }
func (c tapeConn) Begin() (driver.Tx, error)           { return nil, driver.ErrSkip }

// QueryContext implements [driver.QueryerContext].
func (c tapeConn) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	return &tapeRows{table: c.table}, nil
}

type tapeRows struct {
	table table
	next  int
}

func (r *tapeRows) Columns() []string { return r.table.columns }
func (r *tapeRows) Close() error      { return nil }

// Next implements [driver.Rows].
func (r *tapeRows) Next(dest []driver.Value) error {
	if r.next == len(r.table.rows) {
		return io.EOF
	}
	for i, v := range r.table.rows[r.next] {
		dest[i] = v
	}
	r.next++
	return nil
}
