package outbox_test

import (
	"testing"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/outbox"
)

// A worker or a pause with a time that is none spoils no status.
func TestForgedTimes(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		db := open(t, d)
		forged := map[testdb.Dialect]string{testdb.Postgres: "infinity", testdb.MySQL: "9999-12-31 23:59:59", testdb.SQLite: "soon"}[d]
		exec(t, db, "INSERT INTO outbox_workers (id, processor, lease_ms, threads, hostname, pid, started_at, beat_at) VALUES ('w', 'non_ordered', 1000, 1, 'host', 1, ?, ?)", forged, forged)
		exec(t, db, "INSERT INTO outbox_pauses (id, context, resource_class, event_name, callback, reason, paused_at) VALUES ('1', 'billing', '', '', '', 'forged', ?)", forged)
		s, err := outbox.Of(db).Status(t.Context())
		if err != nil || len(s.Workers) != 1 || s.Workers[0].Up != 0 || s.Workers[0].Alive != (d == testdb.MySQL) || len(s.Pauses) != 1 {
			t.Errorf("Status() = %+v, %v, want the worker, dead where its time is none, and the pause", s, err)
		}
	})
}
