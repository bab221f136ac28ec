package doctor

import (
	"strings"
	"testing"

	"github.com/gorm-aftercommit/aftercommit/worker"
)

// What a worker has for itself is known to package worker, which this one does
// not link.
func TestOwnConnections(t *testing.T) {
	if own != worker.OwnConnections {
		t.Errorf("own = %d, want %d", own, worker.OwnConnections)
	}
}

// What no server of the tests can be brought to: a binary log is switched on
// when a server starts, as are prepared transactions.
func TestJudge(t *testing.T) {
	for _, test := range []struct {
		log    bool
		format string
		sync   int64
		level  Level
		seen   string
	}{
		{false, "STATEMENT", 0, OK, "stays"},
		{true, "MIXED", 1, OK, "stays"},
		{true, "STATEMENT", 1, Fault, "binlog_format is STATEMENT"},
		{true, "ROW", 0, Warning, "sync_binlog is 0"},
	} {
		v := mariaValues{LogBin: test.log, Format: test.format, Sync: test.sync, Mode: "STRICT_TRANS_TABLES", Flush: 1, Packet: leastPacket}
		if f := v.findings(); len(f) != 1 || f[0].Level != test.level || !strings.Contains(f[0].Seen, test.seen) {
			t.Errorf("findings of %+v are %+v, want %s: %s", v, f, test.level, test.seen)
		}
	}
	for _, test := range []struct {
		held        held
		dialect, do string
	}{
		{held{Kind: "prepared transaction", Name: "tx-1"}, "postgres", "ROLLBACK PREPARED 'tx-1'"},
		{held{Kind: "prepared transaction"}, "mysql", "XA RECOVER"},
		{held{Kind: "replication slot", Name: "old"}, "postgres", "pg_drop_replication_slot('old')"},
	} {
		if f := test.held.finding(test.dialect); f.Level != Warning || !strings.Contains(f.Do, test.do) || !strings.HasPrefix(f.Seen, strings.TrimSpace(test.held.Kind+" "+test.held.Name)) {
			t.Errorf("finding of %+v is %+v, want %q", test.held, f, test.do)
		}
	}
}
