package chaos_test

import (
	"context"
	"testing"
	"time"
)

// settle waits for transactions that wrote sales and have not ended: a server
// whose connection was cut may still be at its COMMIT, and what is read in two
// statements would differ. Each holds a lock on the table that the triggers
// write to, from its first change until all that it did is seen, so that a lock
// against writers is granted when none is left.
func (s *shop) settle(t *testing.T) {
	t.Helper()
	var statements []string
	switch s.db.Name() {
	case "postgres":
		statements = []string{"BEGIN", "LOCK TABLE oracle_sales IN SHARE MODE", "COMMIT"}
	case "mysql":
		statements = []string{"LOCK TABLES oracle_sales WRITE", "UNLOCK TABLES"}
	}
	pool, err := s.db.DB()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := pool.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	for _, statement := range statements {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}
