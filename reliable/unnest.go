package reliable

import (
	"strconv"
	"strings"
)

// types returns the columns' types in PostgreSQL, in the order of columns.
func types() [12]string {
	return [...]string{
		"bigint", "text", "text", "text", "text", "text", "text", "smallint", "text", "text", "text", "timestamptz",
	}
}

// idColumn is resource_id's place among the columns.
const idColumn = 4

// unnest returns what an INSERT on PostgreSQL selects, in the order of the rows:
// a column that has the same value in all of them as one variable, any other
// one as an array. So the text is the same for any number of rows, and PostgreSQL
// plans it once.
func unnest(rows [][]any) (query string, args []any) {
	var list, arrays, names []string
	for i, typ := range types() {
		variable := "$" + strconv.Itoa(i+1) + "::" + typ
		if len(rows) == 1 || i != idColumn && constant(rows, i) {
			args = append(args, rows[0][i])
			list = append(list, variable)
			continue
		}
		name := "c" + strconv.Itoa(i)
		args = append(args, arrayText(rows, i))
		list, arrays, names = append(list, "r."+name), append(arrays, variable+"[]"), append(names, name)
	}
	query = "SELECT " + strings.Join(list, ",")
	if len(rows) > 1 {
		query += " FROM unnest(" + strings.Join(arrays, ",") + ") AS r(" + strings.Join(names, ",") + ")"
	}
	return query, args
}

// constant reports whether a column has the same value in all rows.
func constant(rows [][]any, column int) bool {
	for _, row := range rows[1:] {
		if row[column] != rows[0][column] {
			return false
		}
	}
	return true
}

// arrayText returns a column as the text of an array, which every driver can
// send.
func arrayText(rows [][]any, column int) string {
	size := 2
	for _, row := range rows {
		if text, ok := row[column].(string); ok {
			size += len(text) + len(text)/4
		}
		size += 8
	}
	b := append(make([]byte, 0, size), '{')
	for i, row := range rows {
		if i > 0 {
			b = append(b, ',')
		}
		switch v := row[column].(type) {
		case nil:
			b = append(b, "NULL"...)
		case int64:
			b = strconv.AppendInt(b, v, 10)
		case string:
			b = append(b, '"')
			for j := range len(v) {
				if v[j] == '"' || v[j] == '\\' {
					b = append(b, '\\')
				}
				b = append(b, v[j])
			}
			b = append(b, '"')
		}
	}
	return string(append(b, '}'))
}
