package fidelity_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// On MariaDB, an update is held to the keys of the rows that were read before
// it: they must be found by the values that the driver delivered. Where they
// can't be, the update is refused; it is never one of no row.
func TestMariaDBKeysAreFound(t *testing.T) {
	base := migrated(t, testdb.MySQL)
	for i, k := range []struct{ typ, value string }{
		{"DOUBLE", "0.1"},
		{"DECIMAL(10,3)", "0.1"},
		{"BIGINT UNSIGNED", "18446744073709551615"},
		{"BOOLEAN", "1"},
		{"YEAR", "2026"},
		{"ENUM('a','b')", "'b'"},
		{"SET('a','b')", "'a,b'"},
		{"TIME(6)", "'-12:00:00.5'"},
		{"DATE", "'2026-01-02'"},
		{"DATETIME(6)", "'2026-01-02 03:04:05.000006'"},
		{"DATETIME", "'0000-00-00'"},
		{"TIMESTAMP(6)", "'2026-01-02 03:04:05.000006'"},
		{"CHAR(5)", "'a '"},
		{"VARCHAR(5)", "'a '"},
		{"VARCHAR(5) CHARACTER SET latin1", "'ü'"},
		{"VARCHAR(5) COLLATE utf8mb4_general_ci", "'É'"},
		{"VARBINARY(5)", "x'ff00'"},
		{"BINARY(5)", "x'ff'"},
		{"INET6", "'::1'"},
		{"FLOAT", "0.1"},
		{"FLOAT(7,3)", "0.123"},
		{"BIT(8)", "b'101'"},
	} {
		l := newLab[Keyed[string]](t, base, fmt.Sprintf("o%d_", i))
		if err := l.db.Exec(fmt.Sprintf("CREATE TABLE o%d_cells (`key` %s PRIMARY KEY, v text)", i, k.typ)).Error; err != nil {
			t.Fatal(err)
		}
		if err := reliable.Skip(l.db).Exec(fmt.Sprintf("INSERT INTO o%d_cells VALUES (%s, 'x')", i, k.value)).Error; err != nil {
			t.Fatal(k.typ, err)
		}
		tx := l.db.Model(&Keyed[string]{}).Where("v = 'x'").Update("v", "y")
		recorded := len(entries(t, l.db))
		switch {
		case tx.Error == nil && (tx.RowsAffected != 1 || recorded != 1):
			t.Errorf("%s: %d rows, %d entries, want 1", k.typ, tx.RowsAffected, recorded)
		case tx.Error != nil && !strings.Contains(tx.Error.Error(), "update Cell") && !strings.Contains(tx.Error.Error(), "reliable.Skip"):
			t.Errorf("%s: %v, want an error that names the way out", k.typ, tx.Error)
		case tx.Error != nil && !strings.HasPrefix(k.typ, "FLOAT") && !strings.HasPrefix(k.typ, "BIT"):
			t.Errorf("%s: %v", k.typ, tx.Error)
		}
	}
}
