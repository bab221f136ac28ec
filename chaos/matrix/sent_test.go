package matrix_test

import (
	"fmt"
	"slices"
	"testing"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// A worker is killed when the database has its finish, and has not answered: a
// lock holds the finish up. What the database then commits, nobody runs again;
// what it does not, another worker does.
func TestKillWhileSent(t *testing.T) {
	for _, commits := range []bool{true, false} {
		for _, d := range []testdb.Dialect{testdb.Postgres, testdb.MySQL} { // SQLite runs in the worker itself
			if commits && d == testdb.MySQL {
				continue // it rolls back what a lost connection began
			}
			t.Run(fmt.Sprintf("%s commits=%t", d, commits), func(t *testing.T) {
				t.Parallel()
				s := newScene(t, d, false, "MATRIX_SLOW=3")
				s.commit(t, 10)
				dying := s.start(t, "", threads, group)
				until(t, "the slow callback runs", func() bool { return s.begun(t, 3) })
				var entry int64
				if err := s.db.Raw("SELECT id FROM outbox_entries WHERE resource_id = '3'").Scan(&entry).Error; err != nil || entry == 0 {
					t.Fatalf("entry %d, %v, want that of order 3", entry, err)
				}
				lock := s.db.Begin()
				defer lock.Rollback()
				if err := lock.Exec("SELECT id FROM outbox_entries WHERE id = ? FOR UPDATE", entry).Error; err != nil {
					t.Fatal(err)
				}
				until(t, "the finish waits for the lock", func() bool { return waits(t, s.db) != 0 })
				if err := dying.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				until(t, "the worker is dead", func() bool { return dying.dead(t) })
				if !commits && d == testdb.Postgres { // MariaDB sees by itself that the client is gone
					if err := s.db.Exec("SELECT pg_terminate_backend(?)", waits(t, s.db)).Error; err != nil {
						t.Fatal(err)
					}
				}
				if !commits {
					until(t, "the finish is gone", func() bool { return waits(t, s.db) == 0 })
				}
				if err := lock.Commit().Error; err != nil {
					t.Fatal(err)
				}
				other := s.start(t, "", threads, group)
				until(t, "the other worker does the rest", func() bool { return s.count(t, "outbox_entries") == 0 && s.count(t, "outbox_workers") == 1 })
				other.stop(t)
				s.check(t, cell{most: bound})
				if again := slices.Contains(s.verdict(t).Again, entry); again == commits {
					t.Errorf("the entry ran again: %t, want %t: its finish was committed: %t", again, !commits, commits)
				}
			})
		}
	}
}

// begun reports whether a callback of an order has begun.
func (s *scene) begun(t *testing.T, order int64) bool {
	t.Helper()
	return slices.Contains(s.verdict(t).Orders, order)
}

// waits returns the session of the finish that waits for a lock on the entries,
// or 0.
func waits(t *testing.T, db *gorm.DB) (session int64) {
	t.Helper()
	query := "SELECT coalesce(min(pid), 0) FROM pg_stat_activity a WHERE wait_event_type = 'Lock' AND query LIKE '%outbox_claims%' " +
		"AND EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.relation = 'outbox_entries'::regclass)"
	if db.Name() == "mysql" {
		query = "SELECT coalesce(min(id), 0) FROM information_schema.processlist WHERE db = database() AND id <> connection_id() AND info LIKE '%outbox_entries%'"
	}
	if err := db.Raw(query).Scan(&session).Error; err != nil {
		t.Fatal(err)
	}
	return session
}
