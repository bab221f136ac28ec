package chaos_test

import (
	"testing"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// The database is killed while a worker works, and comes back. The worker goes
// on by itself: nothing is lost, and only what it had not finished runs again.
func TestKillDatabase(t *testing.T) {
	for _, service := range []testdb.Service{testdb.PostgreSQL, testdb.MariaDB} {
		t.Run(service.String(), func(t *testing.T) {
			server := testdb.Start(t, service)
			s := newScene(t, server.New(t))
			cmd, _ := s.start(t, "", "3ms")
			s.until(t, func() bool { return s.verdict(t).Done > 20 })
			server.Kill()
			if err := server.Restart(); err != nil {
				t.Fatal(err)
			}
			s.db = s.url.Open(t)
			if n := s.count(t, "outbox_entries"); n == 0 {
				t.Fatal("nothing was left when the database died: the test shows nothing")
			}
			s.until(t, func() bool { return s.count(t, "outbox_entries") == 0 })
			s.stop(t, cmd)
			s.check(t, 1)
		})
	}
}
