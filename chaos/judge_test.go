package chaos_test

import (
	"bytes"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/chaos"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// judge holds all that a round left behind against the promise.
func (r *round) judge(t *testing.T, all *table) {
	t.Helper()
	h, err := chaos.ReadLedger(filepath.Join(r.dir, "ledger"))
	if err != nil {
		t.Fatal(err)
	}
	report := chaos.Check(h, chaos.Facts{LeaseTTL: roundLease, MaxCrashes: 3, Bound: chaos.Bound, Entries: facts(t, r.shop.db)})
	for i, fault := range report.Faults {
		if i == 20 {
			t.Errorf("and %d more", len(report.Faults)-i)
			break
		}
		t.Error(fault)
	}
	r.leftovers(t)
	r.secrets(t)
	r.asked(t, h)
	all.add(r.shop.url.Dialect.String(), r, report, h)
	if sum := r.shop.check(t); sum.acked == 0 { // I1
		t.Error("no operation was acknowledged: the round shows nothing")
	} else {
		t.Logf("%d operations acked, %d undone; of those whose end is not known %d were committed, %d not", sum.acked, sum.undone, sum.committed, sum.lost)
	}
}

// asked fails if less happened than was asked for.
func (r *round) asked(t *testing.T, h *chaos.History) {
	t.Helper()
	if n := r.cutsDue(); n > 0 {
		t.Errorf("%d connections were not cut", n)
	}
	for kind, n := range r.faults {
		if h.Fault[string(kind)] < int64(n) {
			t.Errorf("%d times %s, want %d", h.Fault[string(kind)], kind, n)
		}
	}
	killed := 0
	for _, exit := range h.Exits {
		if exit.How == "killed" {
			killed++
		}
	}
	if want := r.faults[chaos.Kill] + r.faults[chaos.KillProducer]; killed < want {
		t.Errorf("%d processes were seen to end by SIGKILL, want %d", killed, want)
	}
}

// leftovers checks I8.
func (r *round) leftovers(t *testing.T) {
	t.Helper()
	for _, table := range []string{"outbox_claims", "outbox_workers"} {
		if n, err := count(r.shop.db, table); n != 0 || err != nil {
			t.Errorf("I8: %s has %d rows, error %v; want 0", table, n, err)
		}
	}
	if r.server == nil {
		return
	}
	sessions := "pg_stat_activity WHERE usename = 'stranger'"
	if r.service == testdb.MariaDB {
		sessions = "information_schema.processlist WHERE user = 'stranger'"
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(10 * time.Second); ; { // the server notices an end a little later
		n, err := count(r.shop.db, sessions)
		if n == 0 && err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Errorf("I8: %d sessions are left, error %v; want 0", n, err)
			return
		}
	}
}

// secrets checks I9.
func (r *round) secrets(t *testing.T) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(r.dir, "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("%d logs, error %v", len(logs), err)
	}
	said := 0
	for _, path := range logs {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		said += len(text)
		if at := bytes.Index(text, []byte(chaos.Canary)); at >= 0 {
			t.Errorf("I9: %s tells the secret: %s", path, text[max(0, at-200):min(len(text), at+100)])
		}
	}
	if said == 0 {
		t.Error("I9: the logs are empty: they show nothing")
	}
	for _, table := range []string{"outbox_entries", "outbox_history"} {
		if n, err := count(r.shop.db, table+" WHERE concat(coalesce(error_message, ''), coalesce(error_class, ''), coalesce(callbacks, '')) LIKE '%"+chaos.Canary+"%'"); n != 0 || err != nil {
			t.Errorf("I9: %d errors in %s tell the secret, error %v; want 0", n, table, err)
		}
	}
}

// stranger makes a user with a secret password, and returns the database's
// address for it.
func stranger(t *testing.T, url testdb.DB) string {
	t.Helper()
	db := url.Open(t)
	statements := []string{"CREATE ROLE stranger SUPERUSER LOGIN PASSWORD '" + chaos.Canary + "'"}
	if url.Dialect == testdb.MySQL {
		statements = []string{"CREATE USER stranger IDENTIFIED BY '" + chaos.Canary + "'", "GRANT ALL ON *.* TO stranger"}
	}
	for _, statement := range statements {
		if err := db.Exec(statement).Error; err != nil {
			t.Fatal(err)
		}
	}
	return withUser(t, url.URL, "stranger", chaos.Canary)
}

func withUser(t *testing.T, address, name, password string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(name, password)
	return u.String()
}

// keep copies a folder to where it outlives the test, and returns that place.
func keep(dir string) string {
	to, err := os.MkdirTemp(temporary, "chaos-failed-")
	if err == nil {
		err = os.CopyFS(to, os.DirFS(dir))
	}
	if err != nil {
		return strings.Join([]string{dir, err.Error()}, ": ")
	}
	return to
}
