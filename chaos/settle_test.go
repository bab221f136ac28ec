package chaos_test

import (
	"testing"
	"time"
)

// settle waits until no session of the shop's database is in a transaction: a
// server whose connection was cut may still be at its COMMIT, and what is read
// in two statements would differ.
func (s *shop) settle(t *testing.T) {
	t.Helper()
	busy := ""
	switch s.db.Name() {
	case "postgres":
		busy = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'
			AND pid <> pg_backend_pid() AND state <> 'idle'`
	case "mysql":
		busy = `SELECT count(*) FROM information_schema.processlist p WHERE p.db = DATABASE() AND p.id <> connection_id()
			AND (p.command <> 'Sleep' OR p.id IN (SELECT trx_mysql_thread_id FROM information_schema.innodb_trx))`
	default:
		return
	}
	for range 100 {
		var n int
		if err := s.db.Raw(busy).Scan(&n).Error; err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return
		}
		time.Sleep(150 * time.Millisecond) // innodb_trx is renewed every 100 ms
	}
	t.Error("sessions are still in transactions")
}
