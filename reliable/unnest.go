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
		size += 8
		if text, ok := row[column].(string); ok {
			size += len(text) + strings.Count(text, `"`)
		}
	}
	var b strings.Builder
	b.Grow(size)
	for i, row := range rows {
		b.WriteByte("{,"[min(i, 1)])
		switch v := row[column].(type) {
		case nil:
			b.WriteString("NULL")
		case int64:
			b.WriteString(strconv.FormatInt(v, 10))
		case string:
			writeQuoted(&b, v)
		}
	}
	b.WriteByte('}')
	return b.String()
}

// writeQuoted writes an element of an array.
func writeQuoted(b *strings.Builder, text string) {
	b.WriteByte('"')
	from := 0
	for i := range len(text) {
		if text[i] == '"' || text[i] == '\\' {
			b.WriteString(text[from:i])
			b.WriteByte('\\')
			from = i
		}
	}
	b.WriteString(text[from:])
	b.WriteByte('"')
}
