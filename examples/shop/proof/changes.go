package proof

import (
	"context"
	"fmt"
	"strings"

	"gorm.io/gorm"
)

// The kinds of change, as log and ledger name them.
const (
	Create  = "create"
	Update  = "update"
	Destroy = "destroy"
)

// Change is a row of the log: one change of one row that committed.
type Change struct {
	Class     string // the model
	ID        string // primary key, as text
	Operation string // create, update or destroy
}

// Table is a table to watch.
type Table struct {
	Name    string
	Class   string   // its model
	Columns []string // what counts in an update: all but the key and updated_at
	Soft    bool     // has deleted_at: setting it is a destroy, clearing it an update
}

// Install makes the log and the triggers that fill it. A trigger runs within
// the transaction of the change, so that what is rolled back is not logged,
// be it a whole transaction or the part after a savepoint.
func Install(ctx context.Context, db *gorm.DB, tables ...Table) error {
	statements := []string{map[string]string{
		"postgres": `CREATE TABLE shop_changes (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tbl text NOT NULL, pk text NOT NULL, op text NOT NULL)`,
		"mysql":    `CREATE TABLE shop_changes (seq bigint AUTO_INCREMENT PRIMARY KEY, tbl varchar(64) NOT NULL, pk varchar(64) NOT NULL, op varchar(16) NOT NULL)`,
		"sqlite":   `CREATE TABLE shop_changes (seq integer PRIMARY KEY AUTOINCREMENT, tbl text NOT NULL, pk text NOT NULL, op text NOT NULL)`,
	}[db.Name()]}
	if db.Name() == "postgres" {
		statements = append(statements, postgresFunction)
	}
	for _, t := range tables {
		statements = append(statements, t.triggers(db.Name())...)
	}
	for _, statement := range statements {
		if err := db.WithContext(ctx).Exec(statement).Error; err != nil {
			return fmt.Errorf("install the log of changes: %w", err)
		}
	}
	return nil
}

// postgresFunction logs one row. An update that changed nothing but updated_at
// is no change.
const postgresFunction = `CREATE FUNCTION shop_log() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
	was jsonb; -- NULL for an insert
	now jsonb; -- NULL for a delete
BEGIN
	IF TG_OP <> 'INSERT' THEN was := to_jsonb(OLD) - 'updated_at'; END IF;
	IF TG_OP <> 'DELETE' THEN now := to_jsonb(NEW) - 'updated_at'; END IF;
	IF was IS DISTINCT FROM now THEN
		INSERT INTO shop_changes (tbl, pk, op) VALUES (TG_TABLE_NAME, coalesce(now, was) ->> 'id', CASE
			WHEN was IS NULL THEN 'create'
			WHEN now IS NULL OR was ->> 'deleted_at' IS NULL AND now ->> 'deleted_at' IS NOT NULL THEN 'destroy'
			ELSE 'update' END);
	END IF;
	RETURN NULL;
END $$`

// triggers returns the statements that make a table's triggers.
func (t Table) triggers(dialect string) []string {
	if dialect == "postgres" {
		return []string{fmt.Sprintf(`CREATE TRIGGER shop_log AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION shop_log()`, t.Name)}
	}
	same := map[string]string{"sqlite": "OLD.%[1]s IS NEW.%[1]s", "mysql": "OLD.%[1]s <=> NEW.%[1]s"}[dialect]
	operation := "'update'"
	columns := t.Columns
	if t.Soft {
		operation = "CASE WHEN OLD.deleted_at IS NULL AND NEW.deleted_at IS NOT NULL THEN 'destroy' ELSE 'update' END"
		columns = append([]string{"deleted_at"}, columns...)
	}
	unchanged := make([]string, len(columns))
	for i, column := range columns {
		unchanged[i] = fmt.Sprintf(same, column)
	}
	const trigger = `CREATE TRIGGER shop_%[1]s_%[2]s AFTER %[2]s ON %[1]s FOR EACH ROW BEGIN
		INSERT INTO shop_changes (tbl, pk, op) SELECT '%[1]s', %[3]s.id, %[4]s FROM (SELECT 1 AS n) AS once WHERE NOT (%[5]s); END`
	return []string{
		fmt.Sprintf(trigger, t.Name, "INSERT", "NEW", "'create'", "1 = 0"),
		fmt.Sprintf(trigger, t.Name, "UPDATE", "NEW", operation, strings.Join(unchanged, " AND ")),
		fmt.Sprintf(trigger, t.Name, "DELETE", "OLD", "'destroy'", "1 = 0"),
	}
}

// ReadChanges returns the log of the tables, in the order of the writes.
func ReadChanges(ctx context.Context, db *gorm.DB, tables ...Table) ([]Change, error) {
	var rows []struct{ Tbl, Pk, Op string }
	if err := db.WithContext(ctx).Raw(`SELECT tbl, pk, op FROM shop_changes ORDER BY seq`).Scan(&rows).Error; err != nil {
		return nil, fmt.Errorf("read the log of changes: %w", err)
	}
	class := make(map[string]string, len(tables))
	for _, t := range tables {
		class[t.Name] = t.Class
	}
	changes := make([]Change, len(rows))
	for i, row := range rows {
		changes[i] = Change{Class: class[row.Tbl], ID: row.Pk, Operation: row.Op}
	}
	return changes, nil
}

// CountChanges returns how many changes are in the log.
func CountChanges(ctx context.Context, db *gorm.DB) (n int, err error) {
	err = db.WithContext(ctx).Raw(`SELECT count(*) FROM shop_changes`).Scan(&n).Error
	return n, err
}
