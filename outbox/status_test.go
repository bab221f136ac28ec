package outbox_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/outbox"
)

func TestStatus(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		db := open(t, d)
		o := outbox.Of(db)
		s, err := o.Status(t.Context())
		if err != nil || s.Pending.N+s.Dead.N+s.ParkedKeys.N != 0 || s.OldestEligible+s.OldestDead+s.OldestParked+s.OldestOrphan != 0 || time.Until(s.At).Abs() > time.Minute {
			t.Errorf("Status() of nothing = %+v, %v", s, err)
		}
		f := fill(t, db)
		exec(t, db, "UPDATE outbox_entries SET created_at = '2021-01-01 00:00:00' WHERE id = ?", f.orphan)
		exec(t, db, "INSERT INTO outbox_workers (id, processor, lease_ms, threads, hostname, pid, started_at, beat_at) VALUES ('worker-1', 'non_ordered', 3600000, 8, 'b', 7, '2026-01-01 00:00:00', ?), ('worker-2', 'non_ordered', 1000, 8, 'a', 8, '2026-01-01 00:00:00', '2026-01-01 00:00:00')",
			s.At.Format("2006-01-02 15:04:05.000"))
		if err := o.Pause(t.Context(), outbox.Selector{Context: "billing"}, "no money"); err != nil {
			t.Fatal(err)
		}
		if s, err = o.Status(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, g := range []struct {
			name string
			got  outbox.Gauge
			want int64
		}{
			{"Pending", s.Pending, 7},
			{"Eligible", s.Eligible, 5},
			{"Waiting", s.Waiting, 1},
			{"Held", s.Held, 1},
			{"Dead", s.Dead, 3},
			{"ParkedKeys", s.ParkedKeys, 1},
			{"Orphans", s.Orphans, 1},
		} {
			if g.got != (outbox.Gauge{N: g.want}) {
				t.Errorf("%s = %+v, want %d", g.name, g.got, g.want)
			}
		}
		firstDead := map[testdb.Dialect]string{testdb.Postgres: "2026-01-06T10:00:00Z", testdb.MySQL: "2026-01-05T10:00:00Z", testdb.SQLite: "2026-01-06T10:00:00Z"}[d]
		for _, a := range []struct {
			name  string
			got   outbox.Age
			since string
		}{
			{"OldestEligible", s.OldestEligible, "2020-01-01T00:00:00Z"},
			{"OldestOrphan", s.OldestOrphan, "2021-01-01T00:00:00Z"},
			{"OldestDead", s.OldestDead, firstDead},
			{"OldestParked", s.OldestParked, "2026-01-05T10:00:00Z"},
		} {
			since, err := time.Parse(time.RFC3339, a.since)
			if want := s.At.Sub(since); err != nil || (time.Duration(a.got)-want).Abs() > time.Minute {
				t.Errorf("%s = %s, want %s", a.name, time.Duration(a.got), want)
			}
		}
		if len(s.Kinds) != 3 || s.Kinds[0].Event != "invoice_sent" || s.Kinds[0].N != 5 || s.Kinds[0].Orphan {
			t.Errorf("Kinds = %+v, want three, the most frequent first", s.Kinds)
		}
		if len(s.Workers) != 2 || s.Workers[0].Alive || !s.Workers[1].Alive || s.Workers[1].Held != 1 || s.Workers[1].Threads != 8 {
			t.Errorf("Workers = %+v, want a dead one, then one that lives and holds an entry", s.Workers)
		}
		text, err := json.Marshal(s)
		if err != nil || len(s.Pauses) != 1 || !strings.Contains(string(text), `"pauses":[{"context":"billing","reason":"no money"`) || !strings.Contains(string(text), `"eligible":{"n":5}`) {
			t.Errorf("%s, %v, want the pause and the gauges", text, err)
		}
	})
}

func TestGaugeAndAge(t *testing.T) {
	for want, got := range map[string]string{
		"0": outbox.Gauge{}.String(), "999": outbox.Gauge{N: 999}.String(), "1,000": outbox.Gauge{N: 1000}.String(), "≈1,234,567": outbox.Gauge{N: 1234567, Approx: true}.String(),
		"0s": outbox.Age(0).String(), "1.5s": outbox.Age(1500 * time.Millisecond).String(), "2m5s": outbox.Age(125 * time.Second).String(),
		"3h0m": outbox.Age(3 * time.Hour).String(), "4d1h": outbox.Age(97*time.Hour + time.Minute).String(),
	} {
		if got != want {
			t.Errorf("String() = %s, want %s", got, want)
		}
	}
	if text, err := json.Marshal(outbox.Age(1500 * time.Millisecond)); err != nil || string(text) != "1.5" {
		t.Errorf("JSON of an age = %s, %v, want seconds", text, err)
	}
}

func TestPrunable(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		db := open(t, d)
		keep(t, db)
		o := outbox.Of(db)
		ids := record(t, db, "", "invoice_sent", "invoice_sent", "invoice_sent")
		exec(t, db, "UPDATE outbox_entries SET dead_at = '2026-01-05 10:00:00', lane = NULL")
		if _, err := o.Discard(t.Context(), outbox.Filter{State: outbox.Dead}); err != nil {
			t.Fatal(err)
		}
		exec(t, db, "UPDATE outbox_history SET processed_at = '2026-01-05 10:00:00' WHERE id = ?", ids[0])
		if g, err := o.Prunable(t.Context(), 48*time.Hour); err != nil || g != (outbox.Gauge{N: 1}) {
			t.Errorf("Prunable() = %+v, %v, want one", g, err)
		}
		if _, err := o.Prunable(t.Context(), time.Second); err == nil || !strings.Contains(err.Error(), "want 1m or more") {
			t.Errorf("Prunable() = %v, want what it takes", err)
		}
	})
}
