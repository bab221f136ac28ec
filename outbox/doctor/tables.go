package doctor

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/migrations"
)

// schema is what migrations make.
type schema struct {
	versions []int64
	tables   []string // as migrations name them, with their schema
	indexes  []index
}

// index is one that migrations make.
type index struct {
	name, table, columns string // columns with ", " between them
	ddl                  string
}

var (
	createTable = regexp.MustCompile(`(?m)^CREATE TABLE (\S+)`)
	createIndex = regexp.MustCompile(`(?m)^CREATE INDEX (\S+) ON (\S+) \(([^)]*)\)[^;]*`)
	dropped     = regexp.MustCompile(`(?m)^DROP (?:TABLE|INDEX) (\S+?)(?: ON \S+)?;`)
)

// expected returns what the migrations of this binary make.
func (x *examination) expected() (*schema, error) {
	files, err := migrations.Files(x.db.Name(), x.tables)
	if err != nil {
		return nil, err
	}
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return nil, err
	}
	s := new(schema)
	for _, name := range names {
		number, _, _ := strings.Cut(path.Base(name), "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("migration %s has no number: %w", name, err)
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		up, _, _ := strings.Cut(string(text), "-- +goose Down")
		s.versions = append(s.versions, version)
		for _, m := range dropped.FindAllStringSubmatch(up, -1) {
			s.tables = slices.DeleteFunc(s.tables, func(table string) bool { return table == m[1] })
			s.indexes = slices.DeleteFunc(s.indexes, func(i index) bool { return i.name == m[1] || i.table == m[1] })
		}
		for _, m := range createTable.FindAllStringSubmatch(up, -1) {
			s.tables = append(s.tables, m[1])
		}
		for _, m := range createIndex.FindAllStringSubmatch(up, -1) {
			s.indexes = append(s.indexes, index{name: m[1], table: m[2], columns: m[3], ddl: m[0]})
		}
	}
	return s, nil
}

// migrated compares what migrations would make with what is there.
func migrated(x *examination, tx *gorm.DB) (found []Finding, err error) {
	want, err := x.expected()
	if err != nil {
		return nil, err
	}
	missing, err := x.missingTables(tx, want.tables)
	if err != nil {
		return nil, err
	}
	if x.missing = len(missing) > 0; x.missing {
		found = append(found, Finding{Level: Fault, Seen: "tables are missing: " + strings.Join(missing, ", "), Do: "run 'reliable migrate up', or migrations.Up when the program starts; " +
			"if the tables have other names, set Config.Tables (--tables-schema, --tables-prefix)"})
	}
	absent, err := x.missingTables(tx, []string{x.tables.Migrations()})
	if err != nil {
		return nil, err
	}
	if len(absent) > 0 {
		if !x.missing {
			found = append(found, Finding{
				Level: Notice, Seen: "all tables are there, but not " + x.tables.Migrations() + ": which migrations made them can't be told",
				Do: "if another tool applies vendored migrations, see to it that it has those of this version; 'reliable migrate print' shows them",
			})
		}
		return found, nil
	}
	applied, err := appliedVersions(tx, x.tables.Migrations())
	if err != nil {
		return found, err
	}
	var behind, ahead []string
	for _, v := range want.versions {
		if !slices.Contains(applied, v) {
			behind = append(behind, strconv.FormatInt(v, 10))
		}
	}
	for _, v := range applied {
		if v > slices.Max(want.versions) {
			ahead = append(ahead, strconv.FormatInt(v, 10))
		}
	}
	if len(behind) > 0 {
		found = append(found, Finding{Level: Fault, Seen: "migrations are not applied: " + strings.Join(behind, ", "), Do: "run 'reliable migrate up', or migrations.Up when the program starts"})
	}
	if len(ahead) > 0 {
		found = append(found, Finding{Level: Warning, Seen: "migrations are applied that this binary does not know: " + strings.Join(ahead, ", "), Do: "deploy the newer version of the library here, too"})
	}
	return orOK(found, "%d tables, migration %d", len(want.tables), slices.Max(want.versions)), nil
}

// appliedVersions reads goose's table, of which the last row of a version
// counts: a table of a few rows.
func appliedVersions(tx *gorm.DB, table string) (applied []int64, err error) {
	var rows []struct {
		VersionID int64
		IsApplied bool
	}
	err = tx.Raw("SELECT version_id, is_applied FROM " + table + " ORDER BY id").Scan(&rows).Error
	for _, r := range rows {
		applied = slices.DeleteFunc(applied, func(v int64) bool { return v == r.VersionID })
		if r.IsApplied && r.VersionID > 0 {
			applied = append(applied, r.VersionID)
		}
	}
	return applied, err
}

// missingTables returns those that are not there: by the catalog.
func (x *examination) missingTables(tx *gorm.DB, tables []string) (missing []string, err error) {
	for _, table := range tables {
		var there bool
		switch tx.Name() {
		case "postgres":
			err = tx.Raw("SELECT to_regclass(?) IS NOT NULL", table).Scan(&there).Error
		case "mysql":
			err = tx.Raw("SELECT count(*) FROM information_schema.tables WHERE table_schema = "+x.mariaSchema()+" AND table_name = ?", bare(table)).Scan(&there).Error
		default:
			err = tx.Raw("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?", table).Scan(&there).Error
		}
		if err != nil {
			return nil, err
		}
		if !there {
			missing = append(missing, table)
		}
	}
	return missing, nil
}

// mariaSchema is an expression for the database that the tables are in.
func (x *examination) mariaSchema() string {
	if x.tables.Schema != "" {
		return "'" + x.tables.Schema + "'"
	}
	return "database()"
}

// bare is a table's name without its schema.
func bare(table string) string { return table[strings.LastIndexByte(table, '.')+1:] }

// regclasses is a list of tables for PostgreSQL.
func regclasses(tables []string) string {
	list := make([]string, len(tables))
	for i, table := range tables {
		list[i] = "to_regclass('" + table + "')"
	}
	return strings.Join(list, ", ")
}

// literals is a list of names of tables, without their schema.
func literals(tables []string) string {
	list := make([]string, len(tables))
	for i, table := range tables {
		list[i] = "'" + bare(table) + "'"
	}
	return strings.Join(list, ", ")
}

// storage looks at how the tables are kept.
func storage(x *examination, tx *gorm.DB) (found []Finding, err error) {
	want, err := x.expected()
	if err != nil {
		return nil, err
	}
	query := "SELECT c.oid::regclass::text FROM pg_class c WHERE c.oid IN (" + regclasses(want.tables) + ") AND c.relpersistence = 'u' ORDER BY 1"
	if tx.Name() == "mysql" {
		query = "SELECT table_name FROM information_schema.tables WHERE table_schema = " + x.mariaSchema() + " AND table_name IN (" + literals(want.tables) + ") AND engine <> 'InnoDB' ORDER BY 1"
	}
	var names []string
	if err := tx.Raw(query).Scan(&names).Error; err != nil {
		return nil, err
	}
	for _, name := range names {
		f := Finding{Level: Fault, Seen: name + " is UNLOGGED, and empty after a crash of the database and on a standby: workers would begin their tokens again", Do: "ALTER TABLE " + name + " SET LOGGED"}
		switch {
		case tx.Name() == "mysql":
			f.Seen, f.Do = name+" has another engine than InnoDB, and is part of no transaction", "ALTER TABLE "+name+" ENGINE = InnoDB, while no worker runs"
		case bare(name) == bare(x.tables.Entries()):
			f.Level, f.Seen = Warning, name+" is UNLOGGED, and empty after a crash of the database and on a standby: what is owed then is lost"
			f.Do += ", unless every callback can be made up for by something else"
		}
		found = append(found, f)
	}
	return orOK(found, "all tables are kept through a crash of the database"), nil
}
