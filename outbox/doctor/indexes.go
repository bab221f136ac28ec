package doctor

import (
	"fmt"
	"strings"

	"gorm.io/gorm"
)

// enoughScans is how often the other indexes of a table must have been used
// before one is called unused that never was.
const enoughScans = 10_000

// indexRow is an index of one of the outbox's tables, as it is.
type indexRow struct {
	TableName, Name, Columns string
	Valid                    bool
	Needed                   bool   // it is of a key, or unique
	Scans                    *int64 // nil where the database does not count
	TableScans               int64  // of all indexes of the table
}

// indexes compares the indexes that are there with those that migrations make.
func indexes(x *examination, tx *gorm.DB) (found []Finding, err error) {
	want, err := x.expected()
	if err != nil {
		return nil, err
	}
	rows, err := selectIndexes(x, tx, want.tables)
	if err != nil {
		return nil, err
	}
	is := make(map[string]indexRow, len(rows))
	for _, r := range rows {
		is[r.Name] = r
	}
	fault := func(do, format string, args ...any) {
		found = append(found, Finding{Level: Fault, Seen: fmt.Sprintf(format, args...), Do: do})
	}
	var unused []string
	for _, i := range want.indexes {
		r, there := is[i.name]
		delete(is, i.name)
		switch {
		case !there:
			fault(concurrently(tx, i.ddl), "index %s of %s is missing", i.name, i.table)
		case !r.Valid:
			fault("DROP INDEX "+i.name+on(tx, i.table)+"; then "+concurrently(tx, i.ddl), "index %s of %s is not valid: it is written, and not read", i.name, i.table)
		case r.Columns != i.columns:
			fault("DROP INDEX "+i.name+on(tx, i.table)+"; then "+concurrently(tx, i.ddl), "index %s of %s has the columns (%s), not (%s)", i.name, i.table, r.Columns, i.columns)
		case r.unused():
			unused = append(unused, i.name)
		}
	}
	for _, r := range rows {
		if _, other := is[r.Name]; other && !r.Needed && !strings.HasPrefix(r.Name, x.tables.Prefix+"outbox_kept") {
			found = append(found, r.foreign(tx)...)
		}
	}
	note := ""
	if len(unused) > 0 {
		note = "; of them never used since statistics were reset, which is no harm: " + strings.Join(unused, ", ")
	}
	return orOK(found, "%d indexes are there, and valid%s", len(want.indexes), note), nil
}

// unused reports whether the index was never used while others were.
func (r *indexRow) unused() bool {
	return r.Scans != nil && *r.Scans == 0 && r.TableScans >= enoughScans
}

// foreign is what there is to say of an index that no migration made.
func (r *indexRow) foreign(tx *gorm.DB) []Finding {
	drop := "DROP INDEX " + r.Name + on(tx, r.TableName)
	switch {
	case !r.Valid:
		return []Finding{{Level: Warning, Seen: fmt.Sprintf("index %s of %s is not of the outbox, and not valid: each write pays for it, no read uses it", r.Name, r.TableName), Do: drop}}
	case r.Scans == nil:
		return []Finding{{Level: Notice, Seen: fmt.Sprintf("index %s of %s is not of the outbox: each write pays for it; this database does not tell whether it is used", r.Name, r.TableName), Do: "unless a query of yours needs it: " + drop}}
	case r.unused():
		return []Finding{{Level: Warning, Seen: fmt.Sprintf("index %s of %s is not of the outbox, and was never used: each write pays for it", r.Name, r.TableName), Do: drop}}
	}
	return nil
}

// concurrently is an index's DDL that keeps nobody from writing.
func concurrently(tx *gorm.DB, ddl string) string {
	if tx.Name() == "postgres" {
		return strings.Replace(ddl, "CREATE INDEX", "CREATE INDEX CONCURRENTLY", 1)
	}
	return ddl
}

// on is what DROP INDEX wants on MariaDB.
func on(tx *gorm.DB, table string) string {
	if tx.Name() == "mysql" {
		return " ON " + table
	}
	return ""
}

const postgresIndexes = `SELECT x.indrelid::regclass::text AS table_name, i.relname AS name, x.indisvalid AND x.indisready AS valid, x.indisunique OR x.indisexclusion AS needed,
		coalesce((SELECT string_agg(pg_get_indexdef(x.indexrelid, n, true), ', ' ORDER BY n) FROM generate_series(1, x.indnkeyatts) n), '') AS columns,
		coalesce(pg_stat_get_numscans(x.indexrelid), 0) AS scans,
		(SELECT coalesce(sum(pg_stat_get_numscans(o.indexrelid)), 0) FROM pg_index o WHERE o.indrelid = x.indrelid)::bigint AS table_scans
	FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid WHERE x.indrelid IN (`

const mariaIndexes = `SELECT table_name AS table_name, index_name AS name, group_concat(column_name ORDER BY seq_in_index SEPARATOR ', ') AS columns, max(ignored) = 'NO' AS valid,
		max(non_unique) = 0 AS needed
	FROM information_schema.statistics WHERE table_schema = `

const sqliteIndexes = `SELECT m.name AS table_name, l.name AS name, l."unique" AS needed, true AS valid,
		(SELECT group_concat(i.name, ', ') FROM pragma_index_info(l.name) i) AS columns
	FROM sqlite_master m, pragma_index_list(m.name) l WHERE m.type = 'table' AND m.name IN (`

// selectIndexes reads the catalog.
func selectIndexes(x *examination, tx *gorm.DB, tables []string) (rows []indexRow, err error) {
	switch tx.Name() {
	case "postgres":
		return rows, tx.Raw(postgresIndexes + regclasses(tables) + ")").Scan(&rows).Error
	case "sqlite":
		return rows, tx.Raw(sqliteIndexes + literals(tables) + ")").Scan(&rows).Error
	}
	if err := tx.Raw(mariaIndexes + x.mariaSchema() + " AND table_name IN (" + literals(tables) + ") GROUP BY table_name, index_name").Scan(&rows).Error; err != nil {
		return nil, err
	}
	return rows, mariaScans(x, tx, rows)
}

// mariaScans adds how many rows were read by each index, where that is counted.
func mariaScans(x *examination, tx *gorm.DB, rows []indexRow) error {
	var counts bool
	if err := tx.Raw("SELECT @@userstat").Scan(&counts).Error; err != nil || !counts {
		return err
	}
	var read []struct {
		TableName, Name string
		Scans           int64
	}
	err := tx.Raw("SELECT table_name AS table_name, index_name AS name, rows_read AS scans FROM information_schema.index_statistics WHERE table_schema = " + x.mariaSchema()).Scan(&read).Error
	for i := range rows {
		r := &rows[i]
		r.Scans = new(int64)
		for _, s := range read {
			if s.TableName == r.TableName {
				r.TableScans += s.Scans
			}
			if s.TableName == r.TableName && s.Name == r.Name {
				*r.Scans = s.Scans
			}
		}
	}
	return err
}
