package chaos_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb/proxy"
)

// The database dies while a worker works, in one of the ways that it has, and
// comes back. The worker goes on by itself: nothing is lost, and only what it
// had not finished runs again (48).
func TestKillDatabase(t *testing.T) {
	kill := func(t *testing.T, _ *scene, server *testdb.Server) {
		t.Helper()
		server.Kill()
		if err := server.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name    string
		service testdb.Service
		end     func(t *testing.T, s *scene, server *testdb.Server)
	}{
		{"PostgreSQL", testdb.PostgreSQL, kill},
		{"PostgreSQL's immediate shutdown", testdb.PostgreSQL, func(t *testing.T, _ *scene, server *testdb.Server) {
			t.Helper()
			if err := server.Quit(); err != nil {
				t.Fatal(err)
			}
			if err := server.Restart(); err != nil {
				t.Fatal(err)
			}
		}},
		{"a backend of PostgreSQL", testdb.PostgreSQL, func(t *testing.T, s *scene, _ *testdb.Server) {
			t.Helper()
			var pid int
			err := s.db.Raw("SELECT max(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename IS NOT NULL").Scan(&pid).Error
			if err != nil || pid == 0 {
				t.Fatalf("backend %d, error %v", pid, err)
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			s.until(t, func() bool { return s.db.Exec("SELECT 1").Error != nil }) // all sessions end,
			s.until(t, func() bool {                                              // and it recovers
				db, err := testdb.OpenURL(s.url.URL)
				if err != nil {
					return false
				}
				pool, err := db.DB()
				return err == nil && pool.Ping() == nil && pool.Close() == nil
			})
		}},
		{"MariaDB", testdb.MariaDB, kill},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := testdb.Start(t, test.service)
			s := newScene(t, server.New(t))
			cmd, _ := s.start(t, "", "3ms")
			s.until(t, func() bool { return s.verdict(t).Done > 20 })
			test.end(t, s, server)
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

// The answers to a worker's COMMITs and statements are lost, again and again: it
// asks until it knows, and nothing runs again, as the lease holds (52).
func TestUnheardFinish(t *testing.T) {
	for _, service := range []testdb.Service{testdb.PostgreSQL, testdb.MariaDB} {
		t.Run(service.String(), func(t *testing.T) {
			d := testdb.Postgres
			if service == testdb.MariaDB {
				d = testdb.MySQL
			}
			r := draws(t)
			s := newScene(t, testdb.New(t, d))
			s.lease = 10 * time.Second
			p := proxy.Start(t, service, s.url.URL)
			s.address = p.URL(s.url.URL)
			cmd, _ := s.start(t, "", "10ms")
			s.registered(t, cmd)
			for s.count(t, "outbox_entries") > 0 {
				p.CutOne(r.IntN, true)
				<-time.After(10 * time.Millisecond)
			}
			s.stop(t, cmd)
			s.check(t, 0)
			t.Logf("%d answers were lost", p.Cuts())
			if p.Cuts() < 10 {
				t.Error("want ten at least: the test shows nothing")
			}
		})
	}
}

// The database breaks transactions off, as deadlocks, failed serialization and
// lock timeouts do: the worker tries again, and no attempt is burnt (57).
func TestBrokenOff(t *testing.T) {
	for _, d := range []testdb.Dialect{testdb.Postgres, testdb.MySQL} {
		t.Run(d.String(), func(t *testing.T) {
			s := newScene(t, testdb.New(t, d))
			for i, at := range []string{"INSERT ON outbox_claims", "UPDATE ON outbox_claims", "DELETE ON outbox_entries"} {
				for _, statement := range breakOff(d, at, i+1) {
					if err := s.db.Exec(statement).Error; err != nil {
						t.Fatal(err)
					}
				}
			}
			cmd, log := s.start(t, "", "5ms")
			s.until(t, func() bool { return s.count(t, "outbox_entries") == 0 })
			s.stop(t, cmd)
			s.check(t, 0)
			t.Logf("the worker told of %d bytes", log.Len())
		})
	}
}

// breakOff returns what makes a database break off every fourth statement or so.
func breakOff(d testdb.Dialect, at string, number int) []string {
	if d == testdb.MySQL {
		codes := []string{"'40001' SET MYSQL_ERRNO = 1213", "'HY000' SET MYSQL_ERRNO = 1205", "'40001' SET MYSQL_ERRNO = 1213"}
		return []string{fmt.Sprintf("CREATE TRIGGER broken%d BEFORE %s FOR EACH ROW IF RAND() < 0.1 THEN SIGNAL SQLSTATE %s, MESSAGE_TEXT = 'broken off'; END IF",
			number, at, codes[number-1])}
	}
	codes := []string{"40001", "40P01", "55P03"}
	return []string{
		fmt.Sprintf("CREATE FUNCTION broken%d() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF random() < 0.25 THEN RAISE 'broken off' USING ERRCODE = '%s'; END IF; RETURN NULL; END $$",
			number, codes[number-1]),
		fmt.Sprintf("CREATE TRIGGER broken%d BEFORE %s FOR EACH STATEMENT EXECUTE FUNCTION broken%d()", number, at, number),
	}
}
